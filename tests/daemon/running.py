"""A real agent process against a real stub."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.stub_cloud import Fleet, Stub

DEADLINE_S = 180.0
"""Long: a VPN server keeps a refusal for a minute, and the machine may be busy."""


def config_file(folder: Path, stub: Stub, fleet: Fleet, **more: Any) -> Path:
    """A config.json as downloaded for the fleet."""
    path = folder / "config.json"
    values = {
        "apiEndpoint": stub.url,
        "applicationId": fleet.id,
        "applicationName": "Plant-7",
        "deviceType": "raspberrypi4-64",
        "userId": 1,
        "apiKey": fleet.provisioning_key,
        **more,
    }
    path.write_text(json.dumps(values))
    return path


class Agent:
    """A running ``fieldbeat agent``."""

    def __init__(self, process: subprocess.Popen[str], config: Path, port: int) -> None:
        self.process = process
        self.config = config
        self.port = port

    @property
    def uuid(self) -> str:
        """What config.json says."""
        return str(json.loads(self.config.read_text())["uuid"])

    @property
    def state(self) -> Any:
        """What survives a power cut."""
        return json.loads((self.config.parent / "fieldbeat" / "state.json").read_text())

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        """A call of the supervisor API."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, _read(answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, _read(answer.read())


def _read(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode()


def command(config: Path, *more: str) -> list[str]:
    """How the agent is started."""
    start = [sys.executable, "-m", "scenarios", "agent", "--config", str(config)]
    return [*start, "--listen", "127.0.0.1:0", *more]


@contextmanager
def agent(config: Path, *more: str) -> Iterator[Agent]:
    """An agent until the block ends; then it is told to stop, and must."""
    process = subprocess.Popen(command(config, *more), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "port" in line, line
        yield Agent(process, config, int(line.rpartition(" ")[2]))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)
        process.stdout.close()


def until(holds: Callable[[], Any]) -> Any:
    """Wait until something holds; what it gave.

    Raises:
        AssertionError: it did not in time.
    """
    end_s = time.monotonic() + DEADLINE_S
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end_s, holds
        time.sleep(0.05)
