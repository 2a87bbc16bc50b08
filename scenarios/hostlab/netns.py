"""Network namespaces of a run: made by ``ip``, entered for a socket, removed with all in them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOLDER = Path("/run/netns")
_NAME = re.compile(r"fieldbeat-(\d+)-(\d+)-[a-z0-9_]+")
SOCKETS = Path("/var/run/wireguard")
_SOCKET = re.compile(r"fb(\d+)x\d+\.sock")
"""Of an agent's wireguard-go: its pid, and the number of the interface."""
HARDWARE = "02:00:00:00:00:01"
"""Address of both ends of a device's cable."""
MOUNTS = Path("/proc/self/mounts")
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
"""A byte of a path that would end its column there (proc(5))."""
PARAMETERS = Path("/proc/sys")
FORWARD = "net/ipv4/ip_forward"
CLONE_NEWNET = 0x40000000
DYING_S = 10.0
"""A killed process gives its memory back first."""
_LIBC = ctypes.CDLL(None, use_errno=True)


def needs(tunnel: str) -> None:
    """Raise ``LabError`` naming what this machine lacks for a lab with such tunnels."""
    packages = {"ip": "iproute2", "nft": "nftables"}
    if tunnel == "userspace":
        packages["wireguard-go"] = "wireguard-go"
    missing = [tool for tool in packages if shutil.which(tool) is None]
    if missing:
        raise LabError(
            f"the host lab needs {' and '.join(missing)}:"
            f" apt install {' '.join(packages[tool] for tool in missing)}"
        )
    if os.geteuid() != 0:
        raise LabError("the host lab makes network namespaces, which needs root")


def run(*command: str, text: str | None = None) -> str:
    """Run a tool; what it printed.

    Raises:
        LabError: it failed, with its own words.
    """
    try:
        done = subprocess.run(  # noqa: S603  # our own words
            command, input=text, capture_output=True, text=True, check=True
        )
    except subprocess.CalledProcessError as error:
        words = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        raise LabError(f"{' '.join(command[:6])}: {words[0]}") from None
    return done.stdout


def batch(lines: Sequence[str], inside: str | None = None) -> None:
    """Many lines of ``ip`` at once, in a namespace."""
    where = () if inside is None else ("-n", inside)
    run("ip", *where, "-batch", "-", text="\n".join(lines) + "\n")


def tune(name: str, parameters: Mapping[str, str]) -> None:
    """Set parameters of a namespace's kernel, as ``sysctl`` does, which not every machine has.

    Args:
        name: of the namespace.
        parameters: name with ``/`` as below ``/proc/sys`` → value.

    Raises:
        LabError: one cannot be set.
    """
    try:
        with inside(name):
            for parameter, value in parameters.items():
                (PARAMETERS / parameter).write_text(value)
    except OSError as error:
        raise LabError(f"{error.filename}: {error.strerror}") from error


def join(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Two interfaces, each given by namespace and name, are the ends of a cable; both are down.

    They have one hardware address and ask for none: what is sent to an end that is down vanishes at
    once.  A kernel that asks for an address keeps packets for three real seconds, which are a
    minute and more of a fast run.
    """
    (here, name), (there, peer) = one, other
    run(
        *("ip", "-n", here, "link", "add", name, "address", HARDWARE, "arp", "off"),
        *("type", "veth", "peer", "name", peer, "address", HARDWARE, "arp", "off"),
        *("netns", there),
    )


class Names:
    """Names of one run's namespaces: owner's pid, its start time, and what it is."""

    def __init__(self) -> None:
        self._prefix = own_prefix()
        self.made: list[str] = []

    def make(self, what: str) -> str:
        """A new namespace, its loopback up."""
        name = f"{self._prefix}-{what}"
        self.made.append(name)  # first: it may be there though whoever makes it is interrupted
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def remove(self) -> None:
        """Kill what runs in them, and remove them."""
        for name in reversed(self.made):
            remove(name)
        self.made.clear()


def _started(pid: int) -> int:
    """When a process began, in ticks since boot; 0: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def remove(name: str) -> None:
    """Kill everything in a namespace and remove it; then its folder can be removed, too."""
    kill_all(name)
    end_s = time.monotonic() + DYING_S
    while pids(name) and time.monotonic() < end_s:
        time.sleep(0.01)
    with contextlib.suppress(LabError):
        run("ip", "netns", "del", name)


def kill_all(name: str) -> None:
    """SIGKILL to every process in a namespace: nothing is flushed or closed."""
    signal_all(name, signal.SIGKILL)


def signal_all(name: str, number: signal.Signals) -> None:
    """Send a signal to every process in a namespace."""
    for pid in pids(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def pids(name: str) -> list[int]:
    """The processes in a namespace."""
    with contextlib.suppress(LabError):
        return [int(pid) for pid in run("ip", "netns", "pids", name).split()]
    return []


def own_prefix() -> str:
    """What this process's things are named after: its pid, and when it began."""
    return f"fieldbeat-{os.getpid()}-{_started(os.getpid())}"


def is_left(name: str) -> bool:
    """Whether something of that name is of a run whose process is no more."""
    match = _NAME.fullmatch(name)
    return match is not None and _started(int(match.group(1))) != int(match.group(2))


def sweep(folder: Path) -> None:
    """Remove what killed runs and killed agents left: namespaces, folders, UAPI sockets.

    Args:
        folder: of temporary files.
    """
    for name in left_behind():
        remove(name)
    for path in folder.glob("fieldbeat-*"):
        if is_left(path.name):
            unmount_below(path)
            shutil.rmtree(path, ignore_errors=True)
    for path in stale_sockets():
        path.unlink(missing_ok=True)


def unmount_below(folder: Path) -> None:
    """Unmount what a run has left mounted in its folder."""
    folder = folder.resolve()
    for line in MOUNTS.read_bytes().splitlines():
        place = Path(os.fsdecode(_OCTAL.sub(_byte, line.split(b" ")[1])))
        if line.startswith(b"fieldbeat ") and folder in place.parents:
            with contextlib.suppress(LabError):
                run("umount", "--lazy", str(place))


def _byte(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])


def stale_sockets() -> list[Path]:
    """UAPI sockets of agents that are no more."""
    found = ((_SOCKET.fullmatch(path.name), path) for path in SOCKETS.glob("fb*.sock"))
    return [path for match, path in found if match and not _started(int(match.group(1)))]


def left_behind() -> list[str]:
    """Namespaces of runs whose process is no more."""
    if not FOLDER.is_dir():
        return []
    return [entry.name for entry in sorted(FOLDER.iterdir()) if is_left(entry.name)]


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Enter a namespace with this thread; never wait for anything inside.

    Raises:
        OSError: it is not there, or one may not.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = -1
    try:
        there = os.open(FOLDER / name, os.O_RDONLY)
        _enter(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)
        if there >= 0:
            os.close(there)


def _enter(file: int) -> None:
    if _LIBC.setns(file, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def socket_in(name: str, family: int, kind: int, protocol: int) -> socket.socket:
    """A socket of a namespace; it stays there whoever uses it."""
    with inside(name):
        made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made
