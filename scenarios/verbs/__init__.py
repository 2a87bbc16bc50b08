"""The verbs of a timeline: one frozen model each, with parameters in base units.

Attribute names carry units (``latency_ms``); files use the plain name (``latency``), which is the
field's alias.  ``Action`` is the union over ``do``; the JSON Schema of scenario files is made from
these models, so every field says what it means.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import Verb
from .cloud_side import (
    VPN_SERVERS,
    Api,
    CloudRestart,
    Delta,
    Dns,
    Fault,
    Incident,
    Registry,
    VpnServer,
)
from .devices import (
    Account,
    Clock,
    Clone,
    CloudlinkDown,
    CloudlinkUp,
    Config,
    Disk,
    DoAction,
    End,
    Environment,
    Heartbeat,
    Move,
    PostProvision,
    Preregister,
    Provision,
    Report,
    Service,
    Supervisor,
    Undervolt,
)
from .links import (
    CHANNELS,
    CaptivePortal,
    Channel,
    Dhcp,
    Firewall,
    Impair,
    Network,
    PowerOff,
    PowerOn,
    Reboot,
)
from .updates import (
    DEFAULT_IMAGE_BYTES,
    DEFAULT_OS_UPDATE,
    HandoverComplete,
    Lock,
    OsUpdate,
    OsUpdateStep,
    Pin,
    Release,
    ReleaseService,
    Requirement,
    Strategy,
)

__all__ = [
    "CHANNELS",
    "DEFAULT_IMAGE_BYTES",
    "DEFAULT_OS_UPDATE",
    "VPN_SERVERS",
    "Account",
    "Action",
    "Api",
    "CaptivePortal",
    "Channel",
    "Clock",
    "Clone",
    "CloudRestart",
    "CloudlinkDown",
    "CloudlinkUp",
    "Config",
    "Delta",
    "Dhcp",
    "Disk",
    "Dns",
    "DoAction",
    "End",
    "Environment",
    "Fault",
    "Firewall",
    "HandoverComplete",
    "Heartbeat",
    "Impair",
    "Incident",
    "Lock",
    "Move",
    "Network",
    "OsUpdate",
    "OsUpdateStep",
    "Pin",
    "PostProvision",
    "PowerOff",
    "PowerOn",
    "Preregister",
    "Provision",
    "Reboot",
    "Registry",
    "Release",
    "ReleaseService",
    "Report",
    "Requirement",
    "Service",
    "Strategy",
    "Supervisor",
    "Undervolt",
    "Verb",
    "VpnServer",
]

Action = Annotated[
    PowerOn
    | PowerOff
    | Reboot
    | Network
    | Firewall
    | Impair
    | Api
    | Registry
    | Dns
    | VpnServer
    | CloudRestart
    | CaptivePortal
    | Release
    | Pin
    | Lock
    | HandoverComplete
    | Config
    | OsUpdate
    | Preregister
    | Provision
    | PostProvision
    | Account
    | DoAction
    | Clock
    | Disk
    | Undervolt
    | Service
    | Supervisor
    | Heartbeat
    | CloudlinkUp
    | CloudlinkDown
    | Report
    | Clone
    | Move
    | Environment
    | Dhcp
    | Delta
    | Incident
    | End,
    Field(discriminator="do"),
]
"""A step's verb with its parameters."""
