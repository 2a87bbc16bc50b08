"""Verbs of the cloud's services and their faults."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ..quantities import Ms, Share, Text  # noqa: TC001  # pydantic evaluates them
from .base import Verb


class Fault(Verb):
    """A fault of a service of the cloud; what is not named is as in good health."""

    state: Literal["up", "down", "hang", "error"] = "up"
    """``down``: connections are refused; ``hang``: accepted, never answered; ``error``: answered
    with ``status``."""
    status: Annotated[int, Field(ge=400, le=599)] = 503
    """HTTP status of the answers in state ``error``."""
    retry_after_ms: Ms | None = Field(default=None, alias="retry_after")
    """Sent as a Retry-After header, in whole seconds."""
    latency_ms: Ms = Field(default=0, alias="latency")
    """Added to every answer."""
    share: Share = 1.0
    """Of the requests the fault hits."""

    @model_validator(mode="before")
    @classmethod
    def _imply_error(cls, data: Any) -> Any:
        """``status: 503`` alone means state ``error``; saying nothing at all is a mistake."""
        if isinstance(data, dict) and "state" not in data:
            if {"status", "retry_after", "retry_after_ms"} & data.keys():
                return {**data, "state": "error"}
            if not {"latency", "latency_ms"} & data.keys():
                raise ValueError("say its state: up, down, hang or error")
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.state != "error" and {"status", "retry_after_ms"} & self.model_fields_set:
            raise ValueError("status and retry_after belong to state: error")
        return self


class Api(Fault):
    """The cloud's API."""

    do: Literal["api"] = "api"


class Registry(Fault):
    """The registry of images."""

    do: Literal["registry"] = "registry"


class Dns(Fault):
    """The resolver the devices use; ``error`` is SERVFAIL."""

    do: Literal["dns"] = "dns"


VPN_SERVERS = ("vpn1",)
"""Running at the start; ``vpn_server: {state: up, name: vpn2}`` adds more."""


class VpnServer(Verb):
    """A VPN server."""

    do: Literal["vpn_server"] = "vpn_server"
    state: Literal["up", "down", "hang", "error", "killed"]
    """``down``: stopped in order, its devices are reported gone; ``killed``: nothing is reported;
    ``hang``: runs and answers nothing; ``error``: refuses every log-in and keeps the tunnels it
    has. Devices are still sent to one that hangs or refuses."""
    name: Text | None = None
    """The VPN service instance; ``vpn1`` runs from the start, ``up`` starts another. None: all
    there are."""


class Incident(Verb):
    """A fault that a real cloud once had, switched on or off in this one."""

    do: Literal["incident"] = "incident"
    name: Literal["stale-disconnect"]
    """``stale-disconnect``: of October 2019, a VPN server's disconnect counts although the device
    is on another server by now."""
    state: Literal["on", "off"]
    """Whether the cloud has it."""


class Delta(Verb):
    """The delta server; a device asks it while ``SUPERVISOR_DELTA`` is set."""

    do: Literal["delta"] = "delta"
    state: Literal["ok", "processing", "none", "broken"]
    """``processing``: it is still making the delta; ``none``: it has none; ``broken``: a delta is
    downloaded and cannot be applied."""


class CloudRestart(Verb):
    """The API restarts; heartbeat timers survive (``STATUS.md §2``)."""

    do: Literal["cloud_restart"] = "cloud_restart"
    down_for_ms: Ms = Field(default=10_000, alias="down_for")
    """Until it answers again."""
