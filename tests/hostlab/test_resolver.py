"""What a site's resolver answers; how it stands in the way is ``test_faults``'s."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.hostlab.places import HOSTS, PLACES
from scenarios.hostlab.resolver import answer_to


def _ask(name: str, kind: str = "A", code: dns.rcode.Rcode | None = None) -> dns.message.Message:
    question = dns.message.make_query(name, kind)
    answer = answer_to(question.to_wire(), code)
    assert answer is not None
    found = dns.message.from_wire(answer)
    assert question.is_response(found)
    return found


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_each_service_has_its_address(name: str) -> None:
    (found,) = _ask(name).answer
    assert [item.to_text() for item in found] == [HOSTS[name]]
    assert HOSTS[name] in {place.host for place in PLACES.values()}


def test_names_are_the_same_in_capitals() -> None:
    assert _ask("API.Fieldbeat.TEST").answer


def test_a_service_has_no_address_of_ipv6() -> None:
    found = _ask("api.fieldbeat.test", "AAAA")
    assert (found.rcode(), found.answer) == (dns.rcode.NOERROR, [])


def test_any_other_name_is_not_there() -> None:
    assert _ask("example.com").rcode() == dns.rcode.NXDOMAIN


def test_a_fault_answers_with_its_code_and_nothing_else() -> None:
    found = _ask("api.fieldbeat.test", code=dns.rcode.SERVFAIL)
    assert (found.rcode(), found.answer) == (dns.rcode.SERVFAIL, [])


def test_an_answer_is_not_answered() -> None:
    assert answer_to(_ask("api.fieldbeat.test").to_wire(), None) is None


@given(st.binary(max_size=600))
def test_whatever_comes_is_no_mishap(data: bytes) -> None:
    answer_to(data, None)
