"""One simulated device of a virtual lab: plain state, driven by ``machines`` and ``conditions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from agent.events import BoardMeasured

from ..board import Board
from ..streams import Stream
from .sensors import following, sample

if TYPE_CHECKING:
    from agent import cloudlink as client
    from agent.machine import Agent
    from cloud_stub.messages import CallDevice

    from ..model import DeviceSpec
    from .links import Link
    from .machines import Machines
    from .vpn_hosts import Session

CERTIFICATE_SPAN_MS = 60 * 86_400_000
"""How far a clock may be off before the API's certificate is not valid for it."""


class Device:
    """One device of the fleet; plain state, driven by ``Machines``."""

    __slots__ = (
        "_link_draws",
        "address",
        "agent",
        "armed_ms",
        "attempt",
        "board",
        "clear",
        "client",
        "client_armed_ms",
        "clock_off_ms",
        "connections",
        "draws",
        "key",
        "life",
        "link",
        "machines",
        "name",
        "number",
        "power",
        "process",
        "row",
        "sampled",
        "session",
        "spec",
        "undervolted",
        "uuid",
    )

    def __init__(self, spec: DeviceSpec, number: int, machines: Machines, *, seed: int) -> None:
        self.spec = spec
        self.name = spec.name
        self.number = number
        self.machines = machines
        self.uuid: str | None = None
        self.key: str | None = None
        self.link: Link = machines.clear_link
        self.clear = False
        """A poll meets nothing on its way: the shortcut may be taken."""
        self.life = 0
        self.process = 0
        self.power: Literal["off", "booting", "on"] = "off"
        self.board = Board(machines.world.catalog)
        self.agent: Agent | None = None
        self.client: client.CloudlinkClient | None = None
        self.session: Session | None = None
        self.attempt: int | None = None
        self.connections = 0
        self.draws = Stream(seed, spec.name, "supervisor")
        self._link_draws: Stream | None = None
        self.row: Any = None
        """The device's row in the cloud core, for the shortcut."""
        self.armed_ms = -1
        self.client_armed_ms = -1
        self.clock_off_ms = 0
        self.sampled = 0
        """The newest sample of the sensors."""
        self.undervolted = False
        self.address: str | None = None
        """Of its uplink, once DHCP gave another one."""

    @property
    def link_draws(self) -> Stream:
        """Randomness of this device's link: jitter, loss, shares of faults."""
        if self._link_draws is None:
            self._link_draws = Stream(self.machines.world.seed, self.name, "link")
        return self._link_draws

    def sense(self) -> BoardMeasured:
        """The sensors, read anew; which sample comes next depends on this device alone."""
        self.sampled = following(
            self.sampled,
            Stream(self.machines.world.seed, self.name, "sensors", self.sampled, self.life),
        )
        readings = sample(self.sampled, undervolted=self.undervolted)
        if self.address is not None:
            readings = {**readings, "ip_address": self.address}
        return BoardMeasured(readings=readings)

    @property
    def trusts_certificates(self) -> bool:
        """The device's clock is inside the validity of the API's certificate."""
        return abs(self.clock_off_ms) <= CERTIFICATE_SPAN_MS

    def wants_tunnel(self, attempt: int) -> bool:
        """The client is still waiting for this attempt."""
        return self.attempt == attempt

    def cloudlink_event(self, life: int, event: client.Event) -> None:
        """Something reaches the VPN client."""
        self.machines.cloudlink_event(self, life, event)

    def api_call(self, life: int, call: CallDevice) -> None:
        """A call of the supervisor API comes out of the tunnel."""
        self.machines.api_call(self, life, call)
