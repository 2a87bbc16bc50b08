"""balenaOS beside the supervisor: the flasher and the OS updater tell the cloud how far they are.

Both write ``provisioning_state`` and ``provisioning_progress`` straight to the device's row
(``SUPERVISOR.md §3``); the supervisor's first report after the boot clears them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from .effects import SendRequest

PROGRESS_TIMEOUT_MS = 59_000
FLASH_STEP_MS = 3_000
"""Between two progress reports of the flasher."""
POST_PROVISIONING = "Post-Provisioning"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressStep:
    """One line of progress, ``after_ms`` from the one before."""

    after_ms: int
    state: str
    progress: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressScript:
    """What a host program reports, and how it leaves the board."""

    steps: tuple[ProgressStep, ...]
    ends_with: Literal["reboot", "power_off"]
    linger_ms: int = 10_000
    """From the last report to the end."""


def flasher(*, percent_step: int = 20) -> ProgressScript:
    """Flash balenaOS on the internal medium, then power off (``SUPERVISOR.md §3``)."""
    writing = "Flashing balenaOS on internal media"
    steps = [
        ProgressStep(after_ms=0, state=f"Starting {writing[0].lower()}{writing[1:]}", progress=0)
    ]
    steps += [
        ProgressStep(after_ms=FLASH_STEP_MS, state=writing, progress=percent)
        for percent in range(percent_step, 100, percent_step)
    ]
    steps.append(ProgressStep(after_ms=FLASH_STEP_MS, state=POST_PROVISIONING, progress=100))
    return ProgressScript(steps=tuple(steps), ends_with="power_off")


def os_update(steps: tuple[ProgressStep, ...] = ()) -> ProgressScript:
    """Upgrade the host OS, then reboot; without ``steps``, a usual course of one."""
    usual = (
        ProgressStep(after_ms=0, state="Preparing OS update", progress=0),
        ProgressStep(after_ms=20_000, state="Running OS update", progress=25),
        ProgressStep(after_ms=60_000, state="Running OS update", progress=75),
        ProgressStep(after_ms=60_000, state="Update successful, rebooting", progress=100),
    )
    return ProgressScript(steps=steps or usual, ends_with="reboot")


def progress_request(number: int, uuid: str, key: str, step: ProgressStep) -> SendRequest:
    """The PATCH of one step; ``key`` is the provisioning key if there is one, else the device's."""
    selector = quote(f"uuid eq '{uuid}'")
    return SendRequest(
        id=number,
        method="PATCH",
        path=f"/v6/device?$filter={selector}",
        headers={
            "authorization": f"Bearer {key}",
            "content-type": "application/x-www-form-urlencoded",
        },
        body={
            "provisioning_progress": step.progress,
            "provisioning_state": step.state,
            "status": "configuring",
        },
        timeout_ms=PROGRESS_TIMEOUT_MS,
    )
