"""The flasher and the OS updater of a device: real requests from its namespace, then the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from agent.host_os import progress_request

if TYPE_CHECKING:
    from agent.host_os import ProgressScript, ProgressStep

    from .device import LabDevice
    from .lab import HostWorld

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
        device.upgrade(version)
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
