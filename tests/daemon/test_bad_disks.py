"""Disks as they fail on boards: a root that is read-only, a disk that is full; both for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.odd_cloud import UUID, odd_cloud, target
from tests.daemon.running import DEADLINE_S, command, until
from tests.daemon.test_odd_answers import _JSON, _logged, _only_polls, _settled

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs root: disks are mounted in a namespace of the test's own",
)


def _fresh(size: int = 1) -> bytes:
    whole = target()
    whole[UUID]["config"] = {"BALENA_NEW": "x" * size}
    return json.dumps(whole).encode()


def _mounted(mount: str, start: list[str]) -> list[str]:
    """The agent in a mount namespace, after a command of mount; both end with it."""
    return ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *start]


def test_a_read_only_disk_is_told_and_what_is_on_it_is_gone_on_with(tmp_path: Path) -> None:
    with odd_cloud() as odd:
        config = _settled(odd, tmp_path)
        state = tmp_path / "fieldbeat" / "state.json"
        before = [path.read_bytes() for path in (config, state)]
        answer: Any = _only_polls(lambda _: (200, {**_JSON, "ETag": '"2"'}, _fresh()))
        odd.answer = answer
        log_folder = tmp_path / "logs"
        log_folder.mkdir()
        mount = f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path}"
        start = _mounted(mount, command(config, "--speed", "20"))
        with _logged(start, log_folder) as log:
            until(lambda: "Read-only file system" in log())
            assert "the disk takes nothing" in log()
            until(lambda: log().count("the disk takes nothing") > 1)  # it comes back, and tries
        assert [path.read_bytes() for path in (config, state)] == before
        with _logged(command(config), tmp_path):
            until(lambda: json.loads(state.read_text())["config"] == {"NEW": "x"})


def test_a_disk_that_is_full_keeps_what_was_stored(tmp_path: Path) -> None:
    with odd_cloud() as odd:
        config = _settled(odd, tmp_path)
        state = tmp_path / "fieldbeat" / "state.json"
        kept = json.loads(state.read_text())
        size = 200_000
        odd.answer = _only_polls(lambda _: (200, {**_JSON, "ETag": '"2"'}, _fresh(size)))
        small = tmp_path / "small"
        small.mkdir()
        mount = f"mount -t tmpfs -o size=128k tmpfs {small} && cp {state} {small}/"
        start = _mounted(mount, command(config, "--state", str(small), "--speed", "20"))
        log = tmp_path / "full.log"
        with log.open("wb") as out:
            process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=out)
        try:
            until(lambda: "No space left on device" in log.read_text())
            until(lambda: log.read_text().count("the disk takes nothing") > 1)
            # as the agent sees it: the small disk is in its namespace alone
            inside = Path(f"/proc/{process.pid}/root{small}/state.json")
            assert json.loads(inside.read_text()) == kept
        finally:
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
    assert "Traceback" not in log.read_text()
