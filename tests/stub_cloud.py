"""The stub that tests talk to: the one people get from fieldbeat's pytest fixtures."""

from scenarios.testing.stub import (
    EMAIL,
    PASSWORD,
    SETTINGS,
    TIMEOUT_S,
    VPN_KEY,
    Answered,
    Device,
    Fleet,
    Stub,
    running,
)

__all__ = [
    "EMAIL",
    "PASSWORD",
    "SETTINGS",
    "TIMEOUT_S",
    "VPN_KEY",
    "Answered",
    "Device",
    "Fleet",
    "Stub",
    "running",
]
