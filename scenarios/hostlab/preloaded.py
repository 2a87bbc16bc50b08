"""A process that has imported the agent and is forked for each start of one.

Starting Python and importing takes half a second, which at speed 60 is half a minute of a board's
boot.  The fork does what ``ip netns exec`` does before a program (network, mounts), then runs the
same ``fieldbeat agent``.  It is in the board's namespace, so a power cut and a sweep find it there;
the process it comes from ends with the lab, however that ends: its socket is closed then.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.daemon.processes import python

from ..errors import LabError
from .netns import CLONE_NEWNET, FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OWN_FILES = ("resolv.conf", "nsswitch.conf", "os-release")
"""Of ``/etc``, where a device's place has them."""
IN_ITS_OWN_WORLD = f"""
place=$1 && shift
for file in {" ".join(OWN_FILES)}; do
  [ ! -e "$place/$file" ] || mount --bind "$place/$file" "/etc/$file" || exit 1
done
exec "$@"
"""
"""``ip netns exec`` gives a program mounts of its own: those files are the device's."""
CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_SLAVE, MNT_DETACH = 0x1000, 0x4000, 0x80000, 2
ORDER_MAX = 1024 * 1024


class Program:
    """An agent that runs, or did."""

    def __init__(self, handle: int) -> None:
        """``handle``: a pidfd."""
        self._handle = handle
        self._over = asyncio.Event()
        self.hangs = False
        """It was stopped in its tracks, and heeds no other signal."""
        asyncio.get_running_loop().add_reader(handle, self._ended)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self._over.set()

    @property
    def ended(self) -> bool:
        """It runs no more."""
        return self._over.is_set()

    def send(self, number: signal.Signals) -> None:
        """A signal, if it is still there."""
        if not self.ended:
            self.hangs = number == signal.SIGSTOP
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    async def wait(self) -> None:
        """Return when it has ended."""
        await self._over.wait()


class Preloaded:
    """The lab's end."""

    def __init__(self) -> None:
        """Nothing runs before ``start``."""
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._one = asyncio.Lock()

    async def start(self) -> None:
        """Begin to import; orders wait for it."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(*python(), "-m", "scenarios.hostlab.preloaded", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )

    async def agent(
        self,
        words: Sequence[str],
        *,
        namespace: str,
        place: Path,
        log: Path,
        environment: Mapping[str, str],
    ) -> Program:
        """Start ``fieldbeat agent`` at a device.

        Args:
            words: behind ``fieldbeat``.
            namespace: of the device.
            place: where its files of ``/etc`` lie.
            log: what it says is appended there.
            environment: all of it.

        Raises:
            LabError: it could not be started.
        """
        assert self._socket is not None
        order = {"words": list(words), "namespace": namespace, "place": str(place)}
        text = json.dumps({**order, "log": str(log), "environment": dict(environment)})
        loop = asyncio.get_running_loop()
        async with self._one:
            try:
                await loop.sock_sendall(self._socket, text.encode())
                ready = asyncio.Event()
                loop.add_reader(self._socket, ready.set)
                try:
                    await ready.wait()
                finally:
                    loop.remove_reader(self._socket)
                said, handles, _, _ = socket.recv_fds(self._socket, 1_024, 1)
            except OSError as error:
                raise LabError(f"no agent could be started: {error.strerror}") from error
        if not handles:
            raise LabError(f"no agent could be started: {said.decode() or 'its parent ended'}")
        return Program(handles[0])

    async def close(self) -> None:
        """It ends; the agents it started do not."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            await self._process.wait()


# --- the process ---------------------------------------------------------------------------------


def _serve(orders: socket.socket) -> None:
    """Fork for each order, until the lab is gone."""
    # the terminal's Ctrl-C is the lab's to deal with
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import agent.daemon.cloudlink
    import agent.daemon.program
    import agent.daemon.vpn_unit
    import agent.tunnel.kinds  # noqa: F401

    from ..cli import agent as _  # noqa: F401  # loaded, so that no child has to

    gc.freeze()  # what is shared stays so
    while order := orders.recv(ORDER_MAX):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        there, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            orders.close()
            os.close(there)
            _live(json.loads(order), tell)
        os.close(tell)
        # before it is in its namespace a power cut would not find it
        wrong = os.read(there, 1_024)
        os.close(there)
        if wrong:
            orders.send(wrong)
            continue
        handle = os.pidfd_open(pid)  # nobody else waits for it: it is the right one
        socket.send_fds(orders, [b"started"], [handle])
        os.close(handle)


def _live(order: dict[str, Any], tell: int) -> None:
    """Be the agent, to the end; in its place it closes ``tell``, or says there why it is not."""
    status: Any = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.environ.clear()
        os.environ.update(order["environment"])
        try:
            _enter(order["namespace"], Path(order["place"]))
        except OSError as error:
            os.write(tell, str(error).encode())
            raise
        os.close(tell)
        from ..cli.group import fieldbeat

        fieldbeat(order["words"], prog_name="fieldbeat")
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0 if status is None else 1)


def _enter(namespace: str, place: Path) -> None:
    """The device's network, mounts of our own, a ``/sys`` of that network, the device's files.

    Raises:
        OSError: it cannot be.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: Any) -> None:
        if getattr(libc, name)(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")

    there = os.open(FOLDER / namespace, os.O_RDONLY)
    call("setns", there, CLONE_NEWNET)
    os.close(there)
    call("unshare", CLONE_NEWNS)
    call("mount", b"", b"/", b"none", ctypes.c_ulong(MS_SLAVE | MS_REC), None)
    flags = 0
    try:
        call("umount2", b"/sys", MNT_DETACH)
    except OSError:  # as ``ip``: one that cannot be unmounted may be read-only, and so must ours
        flags = os.statvfs("/sys").f_flag & os.ST_RDONLY
    call("mount", namespace.encode(), b"/sys", b"sysfs", ctypes.c_ulong(flags), None)
    for name in OWN_FILES:
        if (place / name).exists():
            own, public = os.fsencode(place / name), f"/etc/{name}".encode()
            call("mount", own, public, b"none", ctypes.c_ulong(MS_BIND), None)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
