"""The kinds of tunnels by their names; what a kind needs is imported when it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .udp import wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from .interface import Interface
    from .noise import Remote
    from .plan import DeviceEnd, ServerEnd

ANY = "0.0.0.0"  # noqa: S104  # a client's
KINDS = ("inprocess", "userspace", "kernel")


def device_end(
    kind: str,
    *,
    source: str = "",
    clock_ms: Callable[[], int] = wall_ms,
    remote_of: Callable[[bytes], Remote] | None = None,
) -> DeviceEnd:
    """A client's end.

    Args:
        kind: one of ``KINDS``.
        source: address to speak from, in process only; any where not given.
        clock_ms: the time, ms, in process only.
        remote_of: what is derived of a server's key, in process only.

    Raises:
        ValueError: there is no such kind.
    """
    if kind == "inprocess":
        from .inprocess import InProcessDevice

        return InProcessDevice(source=source or ANY, clock_ms=clock_ms, remote_of=remote_of)
    from .interface import InterfaceDevice

    return InterfaceDevice(_interface(kind))


def server_end(kind: str, *, clock_ms: Callable[[], int] = wall_ms) -> ServerEnd:
    """A server's end.

    Raises:
        ValueError: there is no such kind.
    """
    if kind == "inprocess":
        from .inprocess import InProcessServer

        return InProcessServer(clock_ms=clock_ms)
    from .interface import InterfaceServer

    return InterfaceServer(_interface(kind))


def _interface(kind: str) -> Interface:
    if kind == "userspace":
        from .userspace import UserspaceInterface

        return UserspaceInterface()
    if kind == "kernel":
        from .kernel import KernelInterface

        return KernelInterface()
    raise ValueError(f"there is no tunnel called {kind}")
