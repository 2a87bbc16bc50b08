"""The host OS of a device and what it runs on: flasher and updater, its version, its firmware.

The programs make real requests from the device's namespace.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from agent.host_os import progress_request

if TYPE_CHECKING:
    from agent.host_os import ProgressScript, ProgressStep

    from .device import LabDevice
    from .lab import HostWorld

RELEASE = "os-release"
_SEND = """
import base64, json, ssl, sys, urllib.request
given = json.load(sys.stdin)
authority = given["authority"]
pem = base64.b64decode(authority).decode() if authority else None
trusted = ssl.create_default_context(cadata=pem) if pem else None
asked = urllib.request.Request(
    given["url"], given["body"].encode(), given["headers"], method=given["method"]
)
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
)
opener.open(asked, timeout=given["timeout"]).read()
"""
"""As the scripts of balenaOS call curl."""


async def run_program(
    world: HostWorld, device: LabDevice, script: ProgressScript, *, version: str | None
) -> None:
    """Report progress, then reboot (into another version) or power off; a power cut ends it.

    Args:
        world: of the run.
        device: where it runs.
        script: what it reports, and how it leaves the board.
        version: of the host OS afterwards; ``None``: as it was.
    """
    life, began_ms, at_ms = device.life, world.now_ms(), 0
    for number, step in enumerate(script.steps, 1):
        at_ms += step.after_ms
        await world.sleep_until(began_ms + at_ms)
        if device.life != life:
            return
        # one after the other, as a script does it: none overtakes another
        await _send(world, device, number, step)
    await world.sleep_until(began_ms + at_ms + script.linger_ms)
    if device.life != life:
        return
    if version is not None:
        upgrade(device, version)
    if script.ends_with == "reboot":
        await device.reboot()
    else:
        await device.shut_down()


async def _send(world: HostWorld, device: LabDevice, number: int, step: ProgressStep) -> None:
    uuid, key = device.identity
    request = progress_request(number, uuid or "", key or "", step)
    given = {
        "url": f"{world.cloud.scheme}://{device.api}{request.path}",
        "method": request.method,
        "headers": dict(request.headers),
        "body": urlencode({n: "null" if v is None else v for n, v in request.body.items()}),
        "timeout": request.timeout_ms / 1_000 / world.clock.speed,
        "authority": world.cloud.root_ca,
    }
    sending = await device.run("-I", "-S", "-c", _SEND, given=json.dumps(given).encode())
    await sending.wait()


def upgrade(device: LabDevice, version: str) -> None:
    """The host OS on it is another one from the next start on."""
    lines = ("ID=balena-os", f"PRETTY_NAME={shlex.quote(version)}", "VARIANT_ID=prod")
    (device.beside / RELEASE).write_text("\n".join(lines) + "\n")


def undervolt(device: LabDevice, *, on: bool) -> None:
    """Its firmware says so: a program in the place of a Raspberry Pi's ``vcgencmd``."""
    folder = device.beside / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "vcgencmd"
    aside = program.with_name("vcgencmd.new")
    aside.write_text(f"#!/bin/sh\necho throttled={'0x50005' if on else '0x0'}\n")
    aside.chmod(0o755)
    aside.replace(program)
