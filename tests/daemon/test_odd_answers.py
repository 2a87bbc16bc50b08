"""What no API should answer: a clear line in the log, what a supervisor does, nothing lost."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloud_stub.server.tls import development_authority
from tests.daemon.odd_cloud import UUID, odd_cloud, target, well
from tests.daemon.running import DEADLINE_S, command, until
from tests.stub_cloud import SETTINGS, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.daemon.odd_cloud import Asked, Odd

Answers = "Callable[[Asked], tuple[int, dict[str, str], bytes]]"
_HTML = {"Content-Type": "text/html"}
_JSON = {"Content-Type": "application/json"}


def _config(folder: Path, url: str, **more: Any) -> Path:
    """Of a device that is registered already, and polls often."""
    path = folder / "config.json"
    values = {
        "apiEndpoint": url,
        "deviceType": "raspberrypi4-64",
        "applicationId": 1,
        "uuid": UUID,
        "deviceApiKey": "k",
        "registered_at": 1,
        "deviceId": 7,
        "appUpdatePollInterval": 200,
        "bootstrapRetryDelay": 200,
        **more,
    }
    path.write_text(json.dumps(values))
    return path


def _settled(odd: Odd, folder: Path) -> Path:
    """A device that has been through its first talk with the cloud; its config.json."""
    config = _config(folder, odd.url)
    state = folder / "fieldbeat" / "state.json"
    with _logged(command(config), folder):
        until(lambda: state.exists() and json.loads(state.read_text())["initial_env_reported"])
        until(lambda: json.loads(state.read_text())["target"])
    return config


@contextmanager
def _logged(start: list[str], folder: Path, **more: str) -> Iterator[Callable[[], str]]:
    """An agent, and what it has logged."""
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            start, stdout=subprocess.DEVNULL, stderr=out, env={**os.environ, **more}
        )
    try:
        yield log.read_text
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
        assert "Traceback" not in log.read_text()


def _only_polls(answer: Answers) -> Answers:  # type: ignore[valid-type]
    def answers(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        return answer(asked) if "/state" in asked.path and asked.method == "GET" else well(asked)

    return answers


def _big() -> bytes:
    whole = target()
    whole[UUID]["config"] = {f"BALENA_V{n}": "x" * 1_000 for n in range(10_000)}
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _: (500, {}, b"oops"), "poll failed: HTTP 500"),
        (lambda _: (200, _HTML, b"<html>Log in to the hotel</html>"), "the answer is no JSON"),
        (lambda _: (200, _JSON, b'{"a1b2'), "the answer is no JSON"),
        (lambda _: (200, _JSON, b"[" * 100_000), "the answer is no JSON"),
        (lambda a: (302, {"Location": a.path}, b""), "it redirects in a circle"),
        (lambda _: (200, {**_JSON, "Content-Length": "500"}, b"{}"), "poll failed: reset"),
        (lambda _: (200, {"Content-Encoding": "gzip"}, b"no gzip"), "poll failed: reset"),
        (lambda _: (200, _JSON, b" " * 20_000_000), "the body is longer than"),
        (lambda _: (200, _JSON, b"{}"), "the target state is of another device"),
        (
            lambda _: (200, _JSON, json.dumps({UUID: {"apps": {"x": 5}}}).encode()),
            "could not move to the new release",
        ),
    ],
    ids=[
        *("500", "captive-portal", "cut-json", "deep-json", "redirects", "short-body"),
        *("no-gzip", "20MB", "another-device", "no-app"),
    ],
)
def test_an_odd_answer_is_told_and_the_device_goes_on(
    tmp_path: Path, answer: Any, words: str
) -> None:
    with odd_cloud() as odd:
        config = _settled(odd, tmp_path)
        state = tmp_path / "fieldbeat" / "state.json"
        before = [json.loads(path.read_text()) for path in (config, state)]
        odd.answer = _only_polls(answer)
        with _logged(command(config), tmp_path) as log:
            until(lambda: words in log())
            polls = len(odd.asked)
            if "failed" in log():
                until(lambda: len(odd.asked) > polls)  # it asks again
                odd.answer = well
                until(lambda: "poll answered again" in log())
        assert [json.loads(path.read_text()) for path in (config, state)] == before


def test_a_304_without_an_etag_is_an_error_for_the_real_program_only(tmp_path: Path) -> None:
    for behaviour, failed in (("documented", False), ("supervisor-19", True)):
        folder = tmp_path / behaviour
        folder.mkdir()
        with odd_cloud() as odd:
            config = _settled(odd, folder)
            odd.answer = _only_polls(lambda _: (304, {}, b""))
            before = len(odd.asked)
            with _logged(command(config, "--behaviour", behaviour), folder) as log:
                until(lambda odd=odd, before=before: len(odd.asked) >= before + 2)
                if failed:
                    until(lambda log=log: "304 without a cached ETag" in log())
                assert ("304 without a cached ETag" in log()) == failed


def test_ten_megabytes_of_target_state_are_taken(tmp_path: Path) -> None:
    with odd_cloud() as odd:
        config = _settled(odd, tmp_path)
        odd.answer = _only_polls(lambda _: (200, {**_JSON, "ETag": '"1"'}, _big()))
        state = tmp_path / "fieldbeat" / "state.json"
        with _logged(command(config), tmp_path):
            until(lambda: state.exists() and state.stat().st_size > 10_000_000)
            until(lambda: len(json.loads(state.read_text())["config"]) == 10_000)


def test_a_certificate_nobody_vouches_for_is_refused_until_the_ca_is_given(
    tmp_path: Path,
) -> None:
    pair = development_authority(tmp_path / "tls", ["127.0.0.1"])
    ca = base64.b64encode((tmp_path / "tls" / "ca.pem").read_bytes()).decode()
    with running(tmp_path, replace(SETTINGS, certificate=pair)) as stub:
        config = _config(tmp_path, stub.url)
        with _logged(command(config), tmp_path) as log:
            until(lambda: "failed at first state: tls" in log())
            assert "certificate verify failed" in log()
        config = _config(tmp_path, stub.url, balenaRootCA=ca)
        with _logged(command(config), tmp_path) as log:
            # the stub knows no such device, and says so
            until(lambda: "failed at first state: HTTP 304" in log() or "HTTP 401" in log())
            assert "tls" not in log()


def test_a_full_disk_ends_the_supervisor_and_nothing_stored_is_lost(tmp_path: Path) -> None:
    with odd_cloud() as odd:
        config = _settled(odd, tmp_path)
        state = tmp_path / "fieldbeat" / "state.json"
        kept = json.loads(state.read_text())
        fresh = target()
        fresh[UUID]["config"] = {"BALENA_NEW": "1"}
        odd.answer = _only_polls(
            lambda _: (200, {**_JSON, "ETag": '"2"'}, json.dumps(fresh).encode())
        )
        room = tmp_path / "room"
        code = (
            "import errno, pathlib, sys\n"
            "from agent.daemon import device, files\n"
            "device.RESTART_S = 0.1\n"
            f"room = pathlib.Path({str(room)!r})\n"
            "def full(name):\n"
            "    if name == 'half written' and not room.exists():\n"
            "        raise OSError(errno.ENOSPC, 'No space left on device')\n"
            "files.on_write_point = full\n"
            "from scenarios.__main__ import main\n"
            "main()\n"
        )
        start = [sys.executable, "-c", code, *command(config)[3:]]
        with _logged(start, tmp_path) as log:
            words = "the disk takes nothing (No space left on device)"
            until(lambda: log().count(words) > 2)
            assert json.loads(state.read_text())["config"] == kept["config"]
            room.touch()
            until(lambda: json.loads(state.read_text())["config"] == {"NEW": "1"})


@pytest.mark.parametrize("folder", ["/proc/nosuch", "/dev/null/state"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, folder: str) -> None:
    config = _config(tmp_path, "http://127.0.0.1:9")
    done = subprocess.run(
        command(config, "--state", folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert folder in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with odd_cloud() as odd:
        config = _config(tmp_path, odd.url)
        taken = odd.url.removeprefix("http://")
        start = [*command(config)[:-1], taken]
        done = subprocess.run(start, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert taken in done.stderr


def test_requests_go_through_a_proxy_that_is_named(tmp_path: Path) -> None:
    with odd_cloud() as odd:
        config = _config(tmp_path, "http://api.invalid:8080")
        with _logged(command(config, "--proxy", odd.url), tmp_path):
            until(lambda: odd.asked)
    assert odd.asked[0].path == f"http://api.invalid:8080/device/v3/{UUID}/state"


def test_a_clock_of_1970_fails_at_tls_and_says_so(tmp_path: Path) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("faketime is not installed")
    clock = {"FAKETIME": "@1970-01-02 00:00:00", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    pair = development_authority(tmp_path / "tls", ["127.0.0.1"])
    ca = base64.b64encode((tmp_path / "tls" / "ca.pem").read_bytes()).decode()
    with running(tmp_path, replace(SETTINGS, certificate=pair)) as stub:
        config = _config(tmp_path, stub.url, balenaRootCA=ca)
        with _logged(command(config), tmp_path, LD_PRELOAD=str(library), **clock) as log:
            until(lambda: "failed at first state: tls" in log())
            assert "not yet valid" in log()
        assert json.loads(config.read_text())["deviceApiKey"] == "k"
