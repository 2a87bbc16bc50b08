"""Updates for real: images from the stub's registry, services as processes, locks as files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.daemon.processes import identity
from cloud_stub.server.registry_api import LAYERS
from tests.daemon.running import agent, config_file, until
from tests.stub_cloud import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.daemon.running import Agent
    from tests.stub_cloud import Fleet, Stub

OLD, NEW = "a" * 32, "b" * 32
SLEEP = "sleep 1000"


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with running(tmp_path_factory.mktemp("stub")) as found:
        yield found


def _release(fleet: Fleet, commit: str, labels: dict[str, str], size: int = 100_000) -> None:
    """A release of one service with labels, which the fleet follows."""
    number = fleet.release(commit, status="running")
    stub = fleet.stub
    path = f"/v7/image__is_part_of__release?$filter=is_part_of__release eq {number}"
    part = stub.ask("GET", path).rows[0]
    for name, value in labels.items():
        stub.post("image_label", {"release_image": part["id"], "label_name": name, "value": value})
    image = part["image"]["__id"]
    assert stub.ask("PATCH", f"/v7/image({image})", {"image_size": str(size)}).status == 200
    assert stub.ask("PATCH", f"/v7/release({number})", {"status": "success"}).status == 200


def _stored(found: Agent) -> list[dict[str, Any]]:
    """What the engine keeps of each container; one may be removed while they are read."""
    values = []
    for path in sorted((found.config.parent / "fieldbeat" / "containers").glob("*.json")):
        with contextlib.suppress(FileNotFoundError):
            values.append(json.loads(path.read_text()))
    return values


def _containers(found: Agent) -> dict[str, Any]:
    return {value["container"]["commit"]: value for value in _stored(found)}


def _runs(found: Agent, commit: str) -> int:
    """The pid of a release's only service, once it alone runs."""
    boxes = _containers(found)
    if boxes.keys() != {commit} or boxes[commit]["container"]["state"] != "running":
        return 0
    process = boxes[commit]["process"]
    return process[0] if process else 0


def _update(found: Agent, **body: Any) -> None:
    secret = found.state["api_secret"]
    assert found.ask("POST", "/v1/update", body, secret)[0] == 204


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def _lock_folder(found: Agent, fleet: Fleet) -> Path:
    return found.config.parent / "fieldbeat" / "run" / "services" / str(fleet.id) / "main"


def _unlocked(folder: Path) -> bool:
    """The supervisor's own locks are gone."""
    return not list(folder.iterdir())


def _lived(pid: int) -> bool:
    return identity(pid) is not None


@pytest.mark.parametrize(
    "strategy",
    ["download-then-kill", "kill-then-download", "delete-then-download"],
)
def test_an_update_replaces_the_process(stub: Stub, tmp_path: Path, strategy: str) -> None:
    fleet = stub.fleet(f"strategy-{strategy}")
    labels = {"io.fieldbeat.command": SLEEP, "io.balena.update.strategy": strategy}
    with agent(config_file(tmp_path, stub, fleet)) as found:
        old = until(lambda: _runs(found, OLD))
        assert "agent.daemon.workload" in _command(old)
        _release(fleet, NEW, labels)
        _update(found)
        new = until(lambda: _runs(found, NEW))
        assert _command(new) == SLEEP
        assert not _lived(old)
        index = tmp_path / "fieldbeat" / "images" / "index.json"
        until(lambda: list(json.loads(index.read_text())) == [fleet.images[NEW]])
        until(lambda: not (_lock_folder(found, fleet) / "updates.lock").exists())
    assert not _lived(new)


def test_a_hand_over_keeps_the_old_process_until_the_file_is_there(
    stub: Stub, tmp_path: Path
) -> None:
    fleet = stub.fleet("handover")
    labels = {
        "io.fieldbeat.command": SLEEP,
        "io.balena.update.strategy": "hand-over",
        "io.balena.update.handover-timeout": "600000",
    }
    with agent(config_file(tmp_path, stub, fleet)) as found:
        old = until(lambda: _runs(found, OLD))
        _release(fleet, NEW, labels)
        _update(found)
        until(
            lambda: (
                len(boxes := _containers(found)) == 2
                and all(box["process"] for box in boxes.values())
            )
        )
        assert _lived(old)
        (_lock_folder(found, fleet) / "handover-complete").touch()
        assert until(lambda: _runs(found, NEW)) != old
        assert not _lived(old)


def _variable(fleet: Fleet, name: str, value: str) -> None:
    body = {"application": fleet.id, "name": name, "value": value}
    fleet.stub.post("application_environment_variable", body)


def _environment(pid: int) -> set[str]:
    return set(Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0"))


def test_a_changed_variable_reaches_a_new_process_of_the_same_image(
    stub: Stub, tmp_path: Path
) -> None:
    fleet = stub.fleet("variable")
    with agent(config_file(tmp_path, stub, fleet)) as found:
        old = until(lambda: _runs(found, OLD))
        locks = _lock_folder(found, fleet)
        until(lambda: found.state["current_commits"] and _unlocked(locks))
        (locks / "updates.lock").touch()
        _variable(fleet, "COLOUR", "green")
        _update(found)
        assert _lived(old)
        (locks / "updates.lock").unlink()
        new = until(lambda: (pid := _runs(found, OLD)) != old and pid)
        assert "COLOUR=green" in _environment(new)
        assert not _lived(old)
    assert not _lived(new)


def test_both_ends_of_a_hand_over_to_the_same_release_outlive_a_killed_agent(
    stub: Stub, tmp_path: Path
) -> None:
    fleet = stub.fleet("same-release")
    labels = {
        "io.balena.update.strategy": "hand-over",
        "io.balena.update.handover-timeout": "600000",
    }
    _release(fleet, NEW, labels)
    config = config_file(tmp_path, stub, fleet)

    def pids(found: Agent) -> list[int]:
        return [box["process"][0] for box in _stored(found) if box["process"]]

    with agent(config) as found:
        old = until(lambda: _runs(found, NEW))
        _variable(fleet, "COLOUR", "green")
        _update(found)
        both = until(lambda: seen if len(seen := pids(found)) == 2 else None)
        found.process.kill()
        found.process.wait()
    assert old in both
    assert all(_lived(pid) for pid in both)
    with agent(config) as found:
        # what an interrupted hand-over left goes
        (new,) = until(lambda: seen if len(seen := pids(found)) == 1 else None)
        assert {old, new} == set(both)
        until(lambda: not _lived(old))
        assert "COLOUR=green" in _environment(new)
    assert not _lived(new)


def _by_touch(path: Path) -> None:
    path.touch()


def _by_lockfile(path: Path) -> None:
    if shutil.which("lockfile") is None:
        pytest.skip("lockfile(1) of procmail is not installed")
    subprocess.run(["lockfile", "-r", "0", str(path)], check=True)


def _by_node(path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    code = f"require('fs').closeSync(require('fs').openSync({json.dumps(str(path))}, 'wx'))"
    subprocess.run(["node", "-e", code], check=True)


def _by_python(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))


def _by_folder(path: Path) -> None:
    path.mkdir()


def _by_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("name", ["updates.lock", "resin-updates.lock"])
def test_a_held_lock_refuses_and_its_end_lets_the_update_through(
    stub: Stub, tmp_path: Path, name: str
) -> None:
    fleet = stub.fleet(f"lock-{name[:5]}")
    with agent(config_file(tmp_path, stub, fleet)) as found:
        old = until(lambda: _runs(found, OLD))
        secret = found.state["api_secret"]
        lock = _lock_folder(found, fleet) / name
        until(lambda: _unlocked(lock.parent))
        lock.touch()
        status, body = found.ask("POST", "/v1/restart", {"appId": fleet.id}, secret)
        assert status == 423
        assert body["message"].startswith("Lockfile exists for")
        _release(fleet, NEW, {"io.fieldbeat.command": SLEEP})
        _update(found)
        until(lambda: fleet.images[NEW] in _images(found))
        assert found.ask("POST", "/v1/reboot", {}, secret)[0] == 423
        assert (_runs(found, OLD), lock.exists()) == (old, True)
        lock.unlink()
        until(lambda: _runs(found, NEW))


@pytest.mark.parametrize(
    "take",
    [_by_touch, _by_lockfile, _by_node, _by_python, _by_folder, _by_dangling_link],
    ids=lambda take: take.__name__.removeprefix("_by_"),
)
def test_force_removes_a_lock_whatever_made_it(stub: Stub, tmp_path: Path, take: Any) -> None:
    fleet = stub.fleet(f"force-{take.__name__}")
    with agent(config_file(tmp_path, stub, fleet)) as found:
        until(lambda: _runs(found, OLD))
        secret = found.state["api_secret"]
        lock = _lock_folder(found, fleet) / "updates.lock"
        until(lambda: _unlocked(lock.parent))
        take(lock)
        restart = {"appId": fleet.id}
        assert found.ask("POST", "/v1/restart", restart, secret)[0] == 423
        assert os.path.lexists(lock)
        assert found.ask("POST", "/v1/restart", {**restart, "force": True}, secret)[0] == 200
        until(lambda: not os.path.lexists(lock))


def _images(found: Agent) -> list[str]:
    index = found.config.parent / "fieldbeat" / "images" / "index.json"
    return list(json.loads(index.read_text())) if index.exists() else []


def test_a_crashing_service_is_started_again(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("crashes")
    with agent(config_file(tmp_path, stub, fleet)) as found:
        first = until(lambda: _runs(found, OLD))
        os.kill(first, signal.SIGKILL)
        assert until(lambda: (pid := _runs(found, OLD)) != first and pid)


def test_a_service_that_ignores_the_term_signal_is_killed(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("stubborn")
    command = "python3 -m agent.daemon.workload --ignore-term"
    _release(fleet, NEW, {"io.fieldbeat.command": command})
    with agent(config_file(tmp_path, stub, fleet)) as found:
        pid = until(lambda: _runs(found, NEW))
    assert found.process.returncode == 0
    assert not _lived(pid)


def test_services_outlive_an_agent_that_is_killed_and_the_next_one_knows_them(
    stub: Stub, tmp_path: Path
) -> None:
    fleet = stub.fleet("survives")
    config = config_file(tmp_path, stub, fleet)
    with agent(config) as found:
        pid = until(lambda: _runs(found, OLD))
        until(lambda: found.state["current_commits"])
        found.process.kill()
        found.process.wait()
    assert _lived(pid)
    with agent(config) as found:
        until(lambda: found.ask("GET", "/v1/healthy")[0] == 200)
        assert _runs(found, OLD) == pid
    assert not _lived(pid)


def test_a_download_that_was_cut_goes_on_where_it_was(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("resumes")
    _release(fleet, NEW, {}, size=200_000_000)
    config = config_file(tmp_path, stub, fleet)
    blobs = tmp_path / "fieldbeat" / "images" / "blobs"
    with agent(config) as found:

        def within_a_layer() -> bool:
            # it stands still while it is looked at, and is killed there if that is the place
            found.process.send_signal(signal.SIGSTOP)
            os.waitpid(found.process.pid, os.WUNTRACED)
            if any(part.stat().st_size > 5_000_000 for part in blobs.glob("*.part")):
                return True
            found.process.send_signal(signal.SIGCONT)
            return False

        until(within_a_layer)
        found.process.kill()
        found.process.wait()
    (part,) = blobs.glob("*.part")
    reached = part.stat().st_size
    assert 5_000_000 < reached < 200_000_000 // LAYERS
    with agent(config) as found:
        until(lambda: _runs(found, NEW))
        whole = blobs / part.stem
        assert whole.stat().st_size == 200_000_000 // LAYERS
