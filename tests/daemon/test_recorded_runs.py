"""The program against the recordings of a real supervisor 19.0.5, request by request.

``docs/agent.md`` lists what differs, with the reason.  A difference that is not in its table fails
here, and so does one in the table that no longer occurs.
"""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon.recorded import APP, READINGS, REPORT_GAP_S, UUID, Recording, play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.daemon.recorded import Request, Server

DOCUMENT = Path(__file__).parents[2] / "docs" / "agent.md"
RUNS = ("d1", "d3", "d5")
METRICS_GAP_S = 300.0
AT_ONCE_S = 1.0
"""Programs and engines of the recorded board took so long."""
HELD_BACK_S = 16.5
"""A recorded report waited at most so long for its slot (10 s and what a loop takes)."""
ANYWHERE = {"host", "content-length"}
"""Headers whose value follows from where a server is, and from the body."""
KEY = re.compile(r"[0-9a-f]{32}")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield {
            name: play(Recording(name), tmp_path_factory.mktemp(name), monkeypatch) for name in RUNS
        }


@cache
def _recorded(name: str) -> Recording:
    return Recording(name)


def _pairs(name: str, played: dict[str, Server]) -> list[tuple[Request, Request]]:
    """Ours and theirs; two that went out in one moment on two connections may arrive either way."""
    ours = sorted(played[name].asked, key=lambda r: (round(r.at_s, 3), r.method))
    # the key exchange of a first boot is one after the other, though no time passes here
    ours[:5] = [*played[name].asked[:3], *sorted(played[name].asked[3:5], key=lambda r: r.method)]
    return list(zip(ours, _recorded(name).requests, strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_the_same_requests_come_in_the_same_order(name: str, played: dict[str, Server]) -> None:
    ours, theirs = played[name].asked, _recorded(name).requests
    kinds = [[(r.method, r.path, r.status) for r in requests] for requests in (ours, theirs)]
    for kind in kinds:
        kind[3:5] = sorted(kind[3:5])
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("name", RUNS)
def test_they_are_spaced_as_the_rules_say(name: str, played: dict[str, Server]) -> None:
    before = -HELD_BACK_S
    for ours, theirs in _pairs(name, played):
        report = ours.method == "PATCH"
        # a report that had no slot to wait for goes at once, as every other request
        held_back = report and theirs.at_s - before < HELD_BACK_S
        within_s = REPORT_GAP_S if held_back else AT_ONCE_S
        assert abs(ours.at_s - theirs.at_s) < within_s, (ours, theirs)
        before = theirs.at_s if report else before
    reports = [request for request in played[name].asked if request.method == "PATCH"]
    for one, after in itertools.pairwise(reports):
        metrics = after.device().keys() <= READINGS
        gap_s = METRICS_GAP_S if metrics else REPORT_GAP_S
        assert after.at_s - one.at_s >= gap_s - 0.001


@pytest.mark.parametrize("name", RUNS)
def test_no_report_says_what_the_recorded_one_does_not(
    name: str, played: dict[str, Server]
) -> None:
    """The words of every release in every report, besides the difference that is argued."""
    for ours, theirs in _pairs(name, played):
        assert _words(ours, argued=True) == _words(theirs, argued=True), (ours.at_s, theirs.at_s)


def test_what_differs_is_listed_and_what_is_listed_differs(played: dict[str, Server]) -> None:
    found: dict[str, str] = {}
    for name in RUNS:
        roles = [_roles(requests) for requests in _sides(name, played)]
        for number, (ours, theirs) in enumerate(_pairs(name, played)):
            kind = f"{ours.method} {ours.path.partition('?')[0].rpartition('/')[2]}"
            for what in _differences(ours, theirs, roles, played[name]):
                found.setdefault(f"{kind}: {what}", f"{name} request {number + 1}")
    listed = set(re.findall(r"^\| `([^`]+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    assert {what: where for what, where in found.items() if what not in listed} == {}
    assert listed - found.keys() == set()


# --- how two requests are compared ---------------------------------------------------------------


def _sides(name: str, played: dict[str, Server]) -> tuple[list[Request], list[Request]]:
    return played[name].asked, _recorded(name).requests


def _roles(requests: list[Request]) -> dict[str, str]:
    """Which key is which, by its value."""
    register = requests[0]
    return {
        register.headers["authorization"]: "the provisioning key",
        f"Bearer {register.body['api_key']}": "the device key",
    }


def _differences(
    ours: Request, theirs: Request, roles: list[dict[str, str]], server: Server
) -> Iterator[str]:
    if abs(ours.at_s - theirs.at_s) > 0.001:
        yield "time"
    for header in sorted(ours.headers.keys() | theirs.headers.keys()):
        mine, other = ours.headers.get(header), theirs.headers.get(header)
        if header == "authorization":
            mine, other = roles[0][str(mine)], roles[1][str(other)]
        if header == "if-none-match" or header in ANYWHERE:
            mine, other = str(mine is None), str(other is None)
        if mine != other:
            yield f"header {header}"
    if (ours.body is None) != (theirs.body is None):
        yield "body"
    elif ours.body is not None:
        yield from _bodies(ours, theirs, server)


def _bodies(ours: Request, theirs: Request, server: Server) -> Iterator[str]:
    mine, other = dict(ours.device() or ours.body), dict(theirs.device() or theirs.body)
    assert (UUID in ours.body) == (UUID in theirs.body)
    apps, recorded_apps = mine.pop("apps", None), other.pop("apps", None)
    for name in sorted(mine.keys() | other.keys()):
        values = [mine.get(name), other.get(name)]
        if name in ("api_key", "api_secret") and all(KEY.fullmatch(str(v)) for v in values):
            continue
        if values[0] != values[1] or (name in mine) != (name in other):
            yield "readings" if name in READINGS else f"body {name}"
    if (apps is None) != (recorded_apps is None):
        yield "body apps"
    elif apps is not None and recorded_apps is not None:
        yield from _apps(ours, theirs, server)


def _apps(ours: Request, theirs: Request, server: Server) -> Iterator[str]:
    mine, other = ours.device()["apps"], theirs.device()["apps"]
    assert mine.keys() == other.keys() == {APP}
    if mine[APP].keys() != other[APP].keys():
        yield "app"
    if mine[APP].get("release_uuid") != other[APP].get("release_uuid"):
        yield "release_uuid"
    for release in _words(ours).keys() | _words(theirs).keys():
        if _words(ours).get(release) != _words(theirs).get(release):
            yield "old release"
    for commit, entry in mine[APP]["releases"].items():
        for service in entry["services"].values():
            assert service["image"] == server.image_of(commit)
    progress = [
        [s.get("download_progress") for e in app[APP]["releases"].values() for s in _main(e)]
        for app in (mine, other)
    ]
    kinds = [{*map(type, values)} for values in progress]
    assert kinds[0] == kinds[1]
    if progress[0] != progress[1]:
        yield "download_progress"


def _main(release: dict[str, Any]) -> list[dict[str, Any]]:
    return list(release.get("services", {}).values())


def _words(request: Request, *, argued: bool = False) -> dict[str, tuple[Any, ...]]:
    """Of each release: its update status and its services' keys and words."""
    apps = request.device().get("apps", {}).get(APP, {"releases": {}})
    found = {
        commit: (
            release.get("update_status"),
            [(sorted(service), service["status"]) for service in _main(release)],
        )
        for commit, release in sorted(apps["releases"].items())
    }
    if argued and len(found) > 1:
        old = min(found)
        if [word for _, word in found[old][1]] in (["Deleting"], ["Downloaded"]):
            found[old] = ("between the end of its container and that of its image",)
    return found
