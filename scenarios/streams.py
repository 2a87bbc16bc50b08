"""Named random streams: every consumer draws from its own, derived from the seed and its name.

Adding a device, or a draw in one place, moves nothing anywhere else.  SplitMix64 (Steele, Lea and
Flood, 2014) is used because its state is one integer: ``random.Random`` carries 2.5 KB, which would
be most of a simulated device.
"""

from __future__ import annotations

from hashlib import blake2b

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def digest(*parts: str | int, size: int = 16) -> str:
    """A lower-case hex name of ``2 * size`` digits, fixed by ``parts`` alone."""
    text = "\x1f".join(str(part) for part in parts)
    return blake2b(text.encode(), digest_size=size).hexdigest()


class Stream:
    """A reproducible stream of numbers, named by ``parts`` (the seed first)."""

    __slots__ = ("_state",)

    def __init__(self, *parts: str | int) -> None:
        self._state = int(digest(*parts, size=8), 16)

    @classmethod
    def from_state(cls, state: int) -> Stream:
        """The stream whose next number follows ``state`` (published test vectors use this)."""
        stream = cls.__new__(cls)
        stream._state = state & _MASK  # noqa: SLF001  # one of our own, made without a name
        return stream

    def next64(self) -> int:
        """The next 64 bits."""
        self._state = state = (self._state + _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        return state ^ (state >> 31)

    def random(self) -> float:
        """The next number in [0, 1), with 53 bits."""
        return (self.next64() >> 11) * 1.1102230246251565e-16

    def upto(self, limit: int) -> int:
        """The next integer in 0..limit, both ends included."""
        return int(self.random() * (limit + 1))
