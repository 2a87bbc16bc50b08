"""Whose traffic it was: by address, by uuid, at a moment."""

from __future__ import annotations

import json
from typing import Any

from scenarios.hostlab.counted import traffic_of
from scenarios.hostlab.recorded import Identity

BEGAN_MS = 1_000_000


def _lines(*rows: tuple[int, str, int, dict[str, Any]]) -> list[str]:
    return [
        json.dumps({"at": BEGAN_MS + at_ms, "what": what, "amount": amount, **whose}) + "\n"
        for at_ms, what, amount, whose in rows
    ]


def test_requests_and_bytes_are_whose_address_it_was() -> None:
    lines = _lines(
        (10, "requests", 1, {"address": "10.201.1.2"}),
        (11, "bytes_sent", 300, {"address": "10.77.0.9"}),
        (12, "requests", 1, {"address": "10.202.0.1"}),  # the lab's own
    )
    whose = {"10.201.1.2": "one", "10.77.0.9": "one", "10.201.2.2": "two"}
    traffic = traffic_of(lines, whose, {}, began_ms=BEGAN_MS)
    assert traffic.count("requests", ["one", "two"], 0, 100) == (1, None)
    assert traffic.count("bytes_sent", ["one"], 0, 100) == (300, None)


def test_heartbeats_of_a_copied_card_are_those_of_the_first_who_had_it() -> None:
    known = {
        "copy": [Identity(0, "b", "began"), Identity(50, "a", "cloned")],
        "original": [Identity(0, "a", "began"), Identity(80, None, "written anew")],
    }
    lines = _lines(*((at_ms, "heartbeats", 1, {"device": "a"}) for at_ms in (-5, 10, 60, 90)))
    lines += _lines((20, "heartbeats", 1, {"device": "nobody's"}))
    traffic = traffic_of(lines, {}, known, began_ms=BEGAN_MS)
    assert traffic.count("heartbeats", ["original"], -10, 100) == (3, None)
    assert traffic.count("heartbeats", ["copy"], -10, 100) == (1, None)


def test_a_line_that_is_being_written_is_left() -> None:
    line = _lines((10, "requests", 1, {"address": "x"}))[0]
    traffic = traffic_of([line, line[:20]], {"x": "one"}, {}, began_ms=BEGAN_MS)
    assert traffic.count("requests", ["one"], 0, 100) == (1, None)
