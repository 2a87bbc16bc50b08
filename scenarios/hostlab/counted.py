"""What was counted at the cloud's API (``fieldbeat cloud --traffic``), told by device.

Requests and bytes are a device's by the address they came from, heartbeats by the uuid they were
for: as in the virtual lab, where two boards with one uuid are one device to the cloud.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..history import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .recorded import Identity


def traffic_of(
    lines: Iterable[str],
    addresses: Mapping[str, str],
    identities: Mapping[str, Sequence[Identity]],
    *,
    began_ms: int,
) -> Traffic:
    """The traffic of a run's devices; what others asked for is left out.

    Args:
        lines: as the cloud wrote them.
        addresses: of the devices, and whose they are.
        identities: of each device, the first from the beginning.
        began_ms: since 1970, the run's beginning.
    """
    traffic = Traffic()
    for line in lines:
        if not line.endswith("\n"):
            break  # it is being written
        found: dict[str, Any] = json.loads(line)
        at_ms = found["at"] - began_ms
        if "device" in found:
            whose = _first_with(found["device"], identities, at_ms)
        else:
            whose = addresses.get(found["address"])
        if whose is not None:
            traffic.add(found["what"], at_ms, whose, found["amount"])
    return traffic


def _first_with(uuid: str, identities: Mapping[str, Sequence[Identity]], at_ms: int) -> str | None:
    """The device that had a uuid before any other that has it at a moment."""
    having: list[tuple[int, str]] = []
    for name, known in identities.items():
        # what was before the run, is as at its beginning
        now = next((one for one in reversed(known) if one.at_ms <= at_ms), known[0])
        if now.uuid == uuid:
            having.append((now.at_ms, name))
    # of several since the same moment, the first of the scenario
    return min(having, key=lambda one: one[0])[1] if having else None
