"""Readings of the board, in the units of the state report (``SUPERVISOR.md §2``)."""

from __future__ import annotations

import re
import subprocess
from functools import lru_cache
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

_MB = 1024 * 1024
SYS, OS_RELEASE = Path("/sys"), Path("/etc/os-release")
_THERMAL = "class/thermal/thermal_zone0/temp"
_THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"
_HWMON = "class/hwmon"
_SERIAL = re.compile(r"^Serial\s*:\s*([0-9a-fA-F]+)", re.MULTILINE)
VCGENCMD_S = 2.0
"""So long it may take to say."""
_UNDERVOLTED = 0x1 | 0x10000
"""Bits of the firmware: under voltage now, or since the boot."""


class Sensors:
    """Reads them; what a board does not have is left out."""

    def __init__(self, folder: Path, *, sys: Path = SYS) -> None:
        """Begin to measure the processors.

        Args:
            folder: on the disk whose use is reported.
            sys: where the kernel tells of the board.
        """
        self._folder = folder
        self._sys = sys
        psutil.cpu_percent()

    def read(self) -> Mapping[str, Any]:
        """The readings of now; the load is that since the last call."""
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(str(self._folder))
        found: dict[str, Any] = {
            "cpu_usage": round(psutil.cpu_percent()),
            # without what caches and buffers take, as a supervisor counts
            "memory_usage": (memory.total - memory.available) // _MB,
            "memory_total": memory.total // _MB,
            "storage_usage": disk.used // _MB,
            "storage_total": disk.total // _MB,
            "storage_block_device": _block_device(str(self._folder)),
            "cpu_temp": _temperature(self._sys),
            "cpu_id": _cpu_id(),
            "is_undervolted": _undervolted(self._sys),
        }
        return {name: value for name, value in found.items() if value is not None}


def _block_device(folder: str) -> str | None:
    """The device the folder is on."""
    best: tuple[str, str | None] = ("", None)
    for part in psutil.disk_partitions(all=True):
        if folder.startswith(part.mountpoint) and len(part.mountpoint) > len(best[0]):
            best = (part.mountpoint, part.device)
    return best[1]


def _temperature(sys: Path) -> int | None:
    try:
        return round(int((sys / _THERMAL).read_text()) / 1_000)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1)
def _cpu_id() -> str | None:
    try:
        found = _SERIAL.search(Path("/proc/cpuinfo").read_text())
    except OSError:
        return None
    return found.group(1) if found else None


def _undervolted(sys: Path) -> bool:
    """From a Raspberry Pi's firmware, by the kernel or by ``vcgencmd``; no other board says."""
    try:
        throttled = sys / _THROTTLED
        if throttled.exists():
            return bool(int(throttled.read_text(), 16) & _UNDERVOLTED)
        for chip in sorted((sys / _HWMON).glob("hwmon*")):
            if (chip / "name").read_text().strip() == "rpi_volt":
                return (chip / "in0_lcrit_alarm").read_text().strip() == "1"
        program = which("vcgencmd")
        if program is not None:
            said = subprocess.run(  # noqa: S603
                [program, "get_throttled"],
                capture_output=True,
                text=True,
                timeout=VCGENCMD_S,
                check=False,
            )
            return bool(int(said.stdout.partition("=")[2] or "0", 16) & _UNDERVOLTED)
    except (OSError, ValueError, subprocess.SubprocessError):
        pass
    return False


def network() -> dict[str, str]:
    """Addresses of the board, as a supervisor reports them: no bridges, tunnels or loopback."""
    ips, macs = [], []
    for name, addresses in sorted(psutil.net_if_addrs().items()):
        if re.match(r"lo|docker|balena|br-[0-9a-f]{12}|tun|resin-vpn|supervisor|veth|wg", name):
            continue
        for address in addresses:
            if address.family.name == "AF_INET":
                ips.append(address.address)
            elif address.family.name == "AF_PACKET" and address.address != "00:00:00:00:00:00":
                macs.append(address.address.upper())
    found = {"ip_address": " ".join(ips)}
    if macs:
        found["mac_address"] = " ".join(macs)
    return found


def host_os(file: Path = OS_RELEASE) -> dict[str, str]:
    """Version and variant of balenaOS, by the names of ``AgentConfig``; of another system nothing.

    A cloud tells by the version what a device can do; that of another Linux would say nothing.
    """
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=")[::2] for line in lines)
    said = {name.strip(): value.strip().strip("\"'") for name, value in pairs}
    if said.get("ID") != "balena-os" or not said.get("PRETTY_NAME"):
        return {}
    found = {"os_version": said["PRETTY_NAME"]}
    if said.get("VARIANT_ID"):
        found["os_variant"] = said["VARIANT_ID"]
    return found
