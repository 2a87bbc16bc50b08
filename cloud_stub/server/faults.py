"""Faults a test asks for: API or registry slow, failing, hanging or cutting connections; VPN down.

The words are those of the scenario verbs ``api``, ``registry`` and ``vpn_server``.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..messages import KnownFault  # noqa: TC001  # pydantic evaluates it
from .wire import Answer, empty

if TYPE_CHECKING:
    from aiohttp import web

LATENCY_MAX_S = 3_600
SPARED = "X-Fieldbeat-Spared"
"""A request with this header meets no fault: a test's own, while the API is ill for all others."""
REGISTRY_PATHS = ("/v2/", "/auth/v1/", "/api/v3/delta")


class ApiFault(BaseModel):
    """One fault of the API or the registry; the first that fits a request is taken."""

    model_config = ConfigDict(extra="forbid")

    device: str | None = None
    """Only requests about the device of this uuid, or with its key."""
    state: Literal["up", "down", "hang", "error"] = "up"
    """``down`` cuts the connection, ``hang`` never answers, ``error`` answers ``status``."""
    status: Annotated[int, Field(ge=400, le=599)] = 503
    retry_after: Annotated[int, Field(ge=0, le=86_400)] | None = None
    """Seconds, in the header of that name."""
    latency: Annotated[float, Field(ge=0, le=LATENCY_MAX_S)] = 0
    """Seconds before anything else."""
    share: Annotated[float, Field(ge=0, le=1)] = 1
    """Of the requests."""


class Faults(BaseModel):
    """All faults there are; nothing given is well."""

    model_config = ConfigDict(extra="forbid")

    api: list[ApiFault] = []
    registry: list[ApiFault] = []
    """Of images, of deltas and of the tokens for them, not of the API."""
    registry_rate: Annotated[int, Field(ge=1)] | None = None
    """Bytes per second of images to each address, whatever it pulls at once."""
    delta: Literal["ok", "processing", "none", "broken"] = "ok"
    """``processing``: every delta is still being made (504), ``none``: there is none (404),
    ``broken``: none can be applied."""
    vpn_server: Literal["up", "down"] = "up"
    incidents: list[KnownFault] = []
    """What a real cloud once had wrong, and this one has now."""


MADE_UP_S = 0.1
"""What flowed so much too late, since this program had other things to do, is made up for."""


class Pace:
    """Lets images flow at a rate."""

    def __init__(self) -> None:
        self.waiting: dict[str, float] = {}
        """Address → when what it was sent last has all arrived."""

    async def keep(self, address: str, size: int, rate: int) -> None:
        """Wait until so many bytes more have flowed to an address."""
        now_s = asyncio.get_running_loop().time()
        for known, free_s in list(self.waiting.items()):
            if free_s <= now_s - MADE_UP_S:
                del self.waiting[known]
        until_s = self.waiting.get(address, now_s) + size / rate
        self.waiting[address] = until_s
        await asyncio.sleep(max(0.0, until_s - now_s))


class Injector:
    """Carries faults out on requests."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.pace = Pace()
        self._changed = asyncio.Event()
        """Set when the faults of now are replaced."""
        self._draws = random.Random(0)

    def put(self, given: Any) -> Faults:
        """Replace all faults.

        Raises:
            pydantic.ValidationError: naming what is wrong.
        """
        self.faults = Faults.model_validate(given)
        self._changed.set()
        self._changed = asyncio.Event()
        return self.faults

    @property
    def active(self) -> bool:
        """Whether requests must be looked at."""
        return bool(self.faults.api or self.faults.registry)

    async def suffer_under_way(self, request: web.Request) -> None:
        """Do to a download that has begun what a fault of every pull says: it stops, or is cut.

        What is written to it next then fails, as where a client has gone.
        """
        for fault in self.faults.registry:
            if fault.share < 1 or fault.device is not None:
                continue  # of the requests: this one was looked at
            if fault.state == "hang":
                await self._changed.wait()
            elif fault.state == "down" and request.transport is not None:
                request.transport.abort()

    async def suffer(self, request: web.Request, device: str | None) -> None:
        """Do to a request what the first fault that fits says.

        Raises:
            Answer: instead of the real one.
        """
        of_registry = request.path.startswith(REGISTRY_PATHS)
        for fault in self.faults.registry if of_registry else self.faults.api:
            if fault.device is not None and fault.device != device:
                continue
            if self._draws.random() >= fault.share:
                continue
            if fault.latency:
                await asyncio.sleep(fault.latency)
            if fault.state == "error":
                wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                raise Answer(empty(fault.status, **wait))
            if fault.state == "hang":
                await self._changed.wait()
            if fault.state in ("down", "hang"):
                if request.transport is not None:
                    request.transport.abort()
                raise Answer(empty(503))
            return
