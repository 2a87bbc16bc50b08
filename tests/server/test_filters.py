"""Functions and arithmetic of ``$filter``, over every database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.stub_cloud import running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stub_cloud import Device, Stub

UUID = "0123456789abcdef" * 2
AT = "2026-02-28T23:59:05.250Z"
OLD = "1969-12-31T23:59:59.999Z"


@pytest.fixture
def device(stub: Stub) -> Device:
    """One with a few figures."""
    made = stub.fleet().device(UUID)
    made.report({"memory_usage": 7, "cpu_temp": 40, "status": "Idle"})
    return made


def _found(device: Device, text: str) -> int:
    return len(device.stub.ask("GET", f"/v7/device?$select=id&$filter={text}").rows)


TRUE = (
    # texts; a place counts from 0
    *("substring(uuid,14) eq 'ef0123456789abcdef'", "substring(uuid,1,3) eq '123'"),
    *("substring(uuid,-5,2) eq '01'", "substring(uuid,40) eq ''", "substring(uuid,3,-1) eq ''"),
    *("substring(uuid,9000000000000000000) eq ''", "substring(uuid,memory_usage,1) eq '7'"),
    *("indexof(uuid,'abc') eq 10", "indexof(uuid,'xyz') eq -1", "indexof(uuid,'') eq 0"),
    *("length(concat(uuid,'xy')) eq 34", "trim('  a ') eq 'a'", "indexof(uuid,'ef') mul 2 eq 28"),
    "toupper(substring(uuid,10,6)) eq 'ABCDEF'",
    # parts of a moment
    f"year({AT}) eq 2026 and month({AT}) eq 2 and day({AT}) eq 28",
    f"hour({AT}) eq 23 and minute({AT}) eq 59 and second({AT}) eq 5",
    f"fractionalseconds({AT}) eq 0.25 and totaloffsetminutes({AT}) eq 0",
    f"date({AT}) eq 2026-02-28 and time({AT}) gt 23:59:05 and time({AT}) lt 23:59:06",
    f"year({OLD}) eq 1969 and day({OLD}) eq 31 and hour({OLD}) eq 23 and second({OLD}) eq 59",
    "year('2026-02-28') eq 2026",
    "year(mindatetime()) eq 1 and year(maxdatetime()) eq 9999",
    # spans of time
    f"day({AT} add duration'PT54.75S') eq 1",
    f"{AT} sub {OLD} gt duration'P1D' and {AT} sub duration'P1D' lt {AT}",
    "totalseconds(duration'P1DT1H1M1.5S') eq 90061.5",
    "-duration'PT1S' mul 2 eq duration'-PT2S' and duration'PT3S' div 2 eq duration'PT1.5S'",
    "created_at le now() and created_at gt now() sub duration'PT10M'",
    "now() sub created_at lt duration'PT10M'",
    "maxdatetime() add duration'P1D' gt now()",
    # arithmetic: whole numbers give whole numbers
    *("memory_usage div 2 eq 3", "memory_usage mod 4 eq 3", "memory_usage div 2.0 eq 3.5"),
    *("(memory_usage add 1) mul 2 sub 6 eq cpu_temp div 4", "-memory_usage lt 0"),
    *("memory_usage mod (memory_usage sub 7) eq null", "memory_usage div cpu_temp eq 0"),
    *("memory_usage div (memory_usage sub 7) eq null", "1 div (memory_usage mul 1.0) lt 0.2"),
    *("round(2.5) eq 3", "round(-2.5) eq -3", "floor(-2.5) eq -3", "ceiling(2.1) eq 3"),
    *("round(memory_usage) eq 7", "floor(memory_usage div 2.0) eq 3"),
    "device_tag/any(t:length(t/tag_key) eq 1) eq false",
)


def test_a_filter_computes(device: Device) -> None:
    wrong = [text for text in TRUE if _found(device, text) != 1]
    assert wrong == []
    assert [text for text in TRUE if _found(device, f"not ({text})") != 0] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("substring(uuid,'1') eq 'x'", "substring takes text, number, not text, text"),
        ("year(uuid) eq 2026", "year takes date, not text"),
        ("memory_usage add created_at eq 1", "integer add date cannot be computed"),
        ("created_at add created_at gt now()", "date add date"),
        ("memory_usage mod 1.5 eq 1", "integer mod real"),
        ("memory_usage div 0 eq 1", "not 0"),
        ("duration'P1M' eq duration'PT1S'", "months differ"),
        ("duration'P9999999D' eq duration'PT1S'", "longer than there are dates"),
        ("year('soon') eq 2026", "is not a date"),
        ("year(cpu_id) eq 2026", "year takes date, not text"),
        ("matchesPattern(uuid,'a')", "matchesPattern with 2 arguments is not supported"),
        ("-uuid eq 1", "a text has no opposite"),
    ],
)
def test_what_cannot_be_computed_is_said(device: Device, text: str, words: str) -> None:
    answer = device.stub.ask("GET", f"/v7/device?$filter={text}")
    assert answer.status == 400, answer
    assert words in answer.json, answer


def test_a_sum_beyond_every_number_is_no_fault_of_the_server(device: Device) -> None:
    """SQLite goes on in floating point; PostgreSQL refuses, and the client hears so."""
    answer = device.stub.ask("GET", f"/v7/device?$filter=memory_usage mul {2**62} gt 1")
    assert answer.status in (200, 400), answer
    for way in ("GET", "DELETE"):
        text = f"memory_usage mul {2**62} lt 0"
        answer = device.stub.ask(way, f"/v7/device_tag?$filter=device/any(d:d/{text})")
        assert answer.status in (200, 400), answer


def test_now_is_the_servers_own_clock(tmp_path: Path) -> None:
    at_s = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()
    with running(tmp_path, clock=lambda: at_s) as stub:
        device = stub.fleet().device(UUID)
        for text in ("now() eq 2031-05-06T07:08:09Z", "created_at eq now()", "year(now()) eq 2031"):
            assert _found(device, text) == 1, text
