"""Parts of the daemon by themselves: sensors, what a reboot forgets, downloads that lie."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from agent.daemon import sensors
from agent.daemon.locks import Locks
from agent.daemon.processes import python
from agent.daemon.registry import Images, PullError
from agent.daemon.volatile import Volatile
from agent.daemon.vpn_unit import ADDRESS_MAX, RemoteUnit, Unit
from agent.effects import TakeLocks
from agent.events import LocksRefused, LocksTaken
from tests.daemon.odd_cloud import odd_cloud

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.odd_cloud import Asked

TAKE = TakeLocks(attempt=1, app="app", services=("main", "side"), force=False)

# --- locks and what is volatile -----------------------------------------------------------------


def test_locks_of_users_are_gone_after_a_reboot_and_not_before(tmp_path: Path) -> None:
    first = Volatile(tmp_path / "run", boot_id="one")
    assert first.cold_boot
    lock = first.locks.folder(7, "main") / "updates.lock"
    lock.touch()
    first.cache_report([1])
    first.mark_reboot_needed()
    again = Volatile(tmp_path / "run", boot_id="one")
    assert (again.cold_boot, again.reboot_needed, again.report_cache()) == (False, True, [1])
    assert lock.exists()
    assert isinstance(again.locks.take(TAKE, 7), LocksRefused)
    after = Volatile(tmp_path / "run", boot_id="two")
    assert (after.cold_boot, after.reboot_needed, after.report_cache()) == (True, False, None)
    assert isinstance(after.locks.take(TAKE, 7), LocksTaken)


def test_locks_are_taken_all_or_none(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    theirs = locks.folder(7, "side") / "resin-updates.lock"
    theirs.touch()
    refused = locks.take(TAKE, 7)
    assert refused == LocksRefused(attempt=1, app="app", service="side")
    assert [path.name for path in tmp_path.rglob("*.lock")] == ["resin-updates.lock"]


def test_only_our_own_locks_are_released(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    locks.take(TAKE, 7)
    assert len(list(tmp_path.rglob("*.lock"))) == 4
    # user code of a service takes the lock of its neighbour's name, beside ours
    theirs = locks.folder(7, "other") / "updates.lock"
    theirs.touch()
    Locks(tmp_path).release_all()
    assert list(tmp_path.rglob("*.lock")) == [theirs]


# --- sensors ------------------------------------------------------------------------------------


def test_readings_have_the_units_of_the_report(tmp_path: Path) -> None:
    found = sensors.Sensors(tmp_path).read()
    assert 0 <= found["cpu_usage"] <= 100
    assert 0 < found["memory_usage"] < found["memory_total"]
    assert 0 <= found["storage_usage"] <= found["storage_total"]
    assert found["is_undervolted"] is False


@pytest.mark.parametrize(
    ("said", "undervolted"), [("0x0", False), ("0x50005", True), ("0x50000", True), ("0x2", False)]
)
def test_a_raspberry_pi_tells_its_voltage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, undervolted: bool
) -> None:
    program = tmp_path / "vcgencmd"
    program.write_text(f"#!/bin/sh\necho throttled={said}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(sensors, "VCGENCMD_S", 60.0)
    assert sensors.Sensors(tmp_path, sys=tmp_path).read()["is_undervolted"] is undervolted


@pytest.mark.parametrize(
    ("files", "undervolted"),
    [
        ({}, False),
        ({"devices/platform/soc/soc:firmware/get_throttled": "50005\n"}, True),
        ({"devices/platform/soc/soc:firmware/get_throttled": "0\n"}, False),
        (
            {
                "class/hwmon/hwmon0/name": "cpu_thermal\n",
                "class/hwmon/hwmon1/name": "rpi_volt\n",
                "class/hwmon/hwmon1/in0_lcrit_alarm": "1\n",
            },
            True,
        ),
        (
            {
                "class/hwmon/hwmon1/name": "rpi_volt\n",
                "class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
            },
            False,
        ),
        ({"devices/platform/soc/soc:firmware/get_throttled": "broken\n"}, False),
    ],
)
def test_the_kernel_tells_voltage_and_temperature(
    tmp_path: Path, files: dict[str, str], undervolted: bool
) -> None:
    for name, text in {**files, "class/thermal/thermal_zone0/temp": "48312\n"}.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = sensors.Sensors(tmp_path, sys=tmp_path / "sys").read()
    assert found["is_undervolted"] is undervolted
    assert found["cpu_temp"] == 48


# --- registries that lie ------------------------------------------------------------------------


def _manifest(layer: bytes, **changed: Any) -> bytes:
    parts = [
        {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
        for data in (b"{}", layer)
    ]
    parts[1] |= changed
    return json.dumps({"config": parts[0], "layers": parts[1:]}).encode()


def _pull(folder: Path, manifest: bytes, layer: bytes, **more: str) -> tuple[Images, list[int]]:
    """Pull from a registry that answers so."""

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if "manifests" in asked.path:
            return 200, {"Content-Type": "application/json"}, manifest
        config = hashlib.sha256(b"{}").hexdigest() in asked.path
        return 200, {} if config else more, b"{}" if config else layer

    percents: list[int] = []

    async def pull() -> Images:
        async with aiohttp.ClientSession() as session:
            images = Images(folder, session, plain=[host], credentials=lambda: None, arch="x86_64")
            await images.pull(f"{host}/v2/x", percents.append)
            return images

    with odd_cloud() as odd:
        odd.answer = answer
        host = odd.url.removeprefix("http://")
        return asyncio.run(pull()), percents


def test_a_size_that_is_too_small_does_not_make_more_than_all(tmp_path: Path) -> None:
    layer = b"x" * 300_000
    images, percents = _pull(tmp_path, _manifest(layer, size=10), layer)
    assert len(images.names) == 1
    assert percents == sorted(set(percents))
    assert percents[-1] == 100


@pytest.mark.parametrize(
    ("changed", "layer", "more", "words"),
    [
        ({}, b"something else", {}, "is something else"),
        ({"digest": "sha256:../../etc/passwd"}, b"x", {}, "is no digest"),
        ({"size": "much"}, b"x", {}, "without digest or size"),
        ({}, b"x" * 10, {"Content-Length": "50"}, "Not enough data"),
    ],
)
def test_what_is_not_what_was_said_is_not_kept(
    tmp_path: Path, changed: dict[str, Any], layer: bytes, more: dict[str, str], words: str
) -> None:
    with pytest.raises((PullError, aiohttp.ClientError), match=words):
        _pull(tmp_path, _manifest(b"x" * 50, **changed), layer, **more)
    assert not (tmp_path / "index.json").exists()
    whole = hashlib.sha256(b"x" * 50).hexdigest()
    assert not (tmp_path / "blobs" / whole).exists()


# --- two processes, and programs of ours ---------------------------------------------------------


class _Switched:
    """In the place of cloudlink: what the unit was told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()

    def start(self) -> None:
        self.told.put_nowait("start")

    def stop(self) -> None:
        self.told.put_nowait("stop")

    async def close(self) -> None:
        self.told.put_nowait("close")


async def _switched(folder: Path) -> None:
    unit, cloudlink, seen = Unit(folder), _Switched(), asyncio.Queue[bool]()
    unit._cloudlink = cloudlink  # type: ignore[assignment]
    await unit._start()
    remote = RemoteUnit(folder, seen.put_nowait)
    remote.start()
    try:
        assert await seen.get() is False
        remote.stop()
        assert [await cloudlink.told.get() for _ in range(2)] == ["start", "stop"]
    finally:
        await remote.close()
        await unit.close()


@pytest.mark.parametrize("depth", [0, 5], ids=["short", "too long for an address"])
def test_a_supervisor_switches_the_unit_wherever_their_folder_lies(
    tmp_path: Path, depth: int
) -> None:
    folder = tmp_path.joinpath(*("ä" * 50,) * depth)
    folder.mkdir(parents=True, exist_ok=True)
    assert (len(os.fsencode(folder)) > ADDRESS_MAX) is (depth > 0)
    asyncio.run(_switched(folder))
    assert list(folder.iterdir()) == []


def test_a_file_in_the_working_directory_is_no_module_of_our_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    words = [*python(), "-c", "import agent.daemon.workload"]
    assert subprocess.run(words, check=False).returncode == 0


def test_a_working_directory_that_was_removed_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "-P" in python()
