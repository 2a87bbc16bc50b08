"""config.json as balena writes it for a device: read with clear errors, written back atomically."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yarl import URL

from ..config import AgentConfig, Persisted
from .files import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class ConfigError(Exception):
    """config.json cannot be used; the text names the file, the place and the remedy."""


def _endpoint(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a URL such as https://api.balena-cloud.com")
    try:
        url = URL(value)
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must begin with https:// or http:// and name a host")
    return str(url).rstrip("/")


def _uuid(value: Any) -> str:
    if not isinstance(value, str) or len(value) not in (32, 62) or set(value) - _HEX:
        raise ValueError("must be 32 (or 62) lower-case hexadecimal digits")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text")
    return value


def _host(value: Any) -> str:
    if not isinstance(value, str) or not value or set(value) & set("/@?# "):
        raise ValueError("must be a host name such as cloudlink.balena-cloud.com")
    return value


def _whole(smallest: int, largest: int) -> Callable[[Any], int]:
    """A whole number; files made by hand have digits in quotes."""

    def whole(value: Any) -> int:
        digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20
        number = int(value) if digits else value
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError(f"must be a whole number, not {json.dumps(value)[:40]}")
        if not smallest <= number <= largest:
            raise ValueError(f"must be from {smallest} to {largest}")
        return number

    return whole


_HEX = frozenset("0123456789abcdef")
_LARGEST = 2**53
_POSITIVE = _whole(1, _LARGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """The fields an agent knows, under their names in the file; all others are kept."""

    apiEndpoint: str  # noqa: N815
    deviceType: str  # noqa: N815
    applicationId: int | None = None  # noqa: N815
    uuid: str | None = None
    apiKey: str | None = None  # noqa: N815
    """The provisioning key; gone once the device is registered."""
    deviceApiKey: str | None = None  # noqa: N815
    registered_at: int | None = None
    """ms; files of old say seconds, and nobody looks."""
    deviceId: int | None = None  # noqa: N815
    appUpdatePollInterval: int = 900_000  # noqa: N815
    """ms, as the next two."""
    apiRequestTimeout: int = 59_000  # noqa: N815
    bootstrapRetryDelay: int = 30_000  # noqa: N815
    listenPort: int = 48_484  # noqa: N815
    vpnEndpoint: str | None = None  # noqa: N815
    """Host of the VPN service; without it there is no cloudlink."""
    vpnPort: int = 443  # noqa: N815
    deltaEndpoint: str | None = None  # noqa: N815
    """URL of a delta server; without it images are pulled whole."""
    balenaRootCA: str | None = None  # noqa: N815
    """Base64 of certificates (PEM) to trust besides the system's."""

    @property
    def vpn_url(self) -> str | None:
        """Of the VPN service, with TLS where the API has it."""
        if not self.vpnEndpoint:
            return None
        scheme = URL(self.apiEndpoint).scheme
        return str(URL.build(scheme=scheme, host=self.vpnEndpoint, port=self.vpnPort))

    @property
    def root_ca(self) -> str | None:
        """The certificates, PEM.

        Raises:
            ConfigError: they are no base64 of PEM.
        """
        if not self.balenaRootCA:
            return None
        try:
            text = base64.b64decode(self.balenaRootCA, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            text = ""
        if "BEGIN CERTIFICATE" not in text:
            raise ConfigError("config.json: balenaRootCA must be base64 of a PEM certificate")
        return text


_READ: Mapping[str, Callable[[Any], Any]] = {
    "apiEndpoint": _endpoint,
    "deviceType": _text,
    "applicationId": _POSITIVE,
    "uuid": _uuid,
    "apiKey": _text,
    "deviceApiKey": _text,
    "registered_at": _whole(0, _LARGEST),
    "deviceId": _POSITIVE,
    "appUpdatePollInterval": _POSITIVE,
    "apiRequestTimeout": _POSITIVE,
    "bootstrapRetryDelay": _POSITIVE,
    "listenPort": _whole(1, 65_535),
    "vpnEndpoint": _host,
    "vpnPort": _whole(1, 65_535),
    "deltaEndpoint": _endpoint,
    "balenaRootCA": _text,
}
_NEEDED = ("apiEndpoint", "deviceType")


def _read(path: Path, raw: Mapping[str, Any]) -> ConfigFile:
    """Every wrong value is told at once."""
    wrong = [f"{path}: {name}: is missing" for name in _NEEDED if raw.get(name) is None]
    given = {}
    for name, read in _READ.items():
        if raw.get(name) is None:
            continue
        try:
            given[name] = read(raw[name])
        except ValueError as error:
            wrong.append(f"{path}: {name}: {error}")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return ConfigFile(**given)


_WRITTEN: Mapping[str, str] = {
    "uuid": "uuid",
    "deviceApiKey": "device_api_key",
    "apiKey": "provisioning_key",
    "registered_at": "registered_at_ms",
    "deviceId": "device_id",
}
"""Names in the file, and in ``Persisted``."""


class DeviceConfig:
    """One config.json on the disk."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            ConfigError: it is not there, is no JSON, or a value is wrong.
        """
        self.path = path
        self._raw = _load(path)
        self.values = _read(path, self._raw)

    def identity(self) -> dict[str, Any]:
        """What it says of the device, by the names of ``Persisted``."""
        values = self.values
        found = {ours: getattr(values, theirs) for theirs, ours in _WRITTEN.items()}
        return {**found, "application_id": values.applicationId}

    def write_back(self, state: Persisted) -> None:
        """Write what changed of the device's identity; the rest of the file stays.

        Raises:
            OSError: the disk takes nothing; the old file is as it was.
        """
        changed = dict(self._raw)
        for theirs, ours in _WRITTEN.items():
            value = getattr(state, ours)
            if value is None:
                changed.pop(theirs, None)
            else:
                changed[theirs] = value
        if changed != self._raw:
            write_json(self.path, changed)
            self._raw = changed
            self.values = _read(self.path, changed)

    def agent_config(self, **known: Any) -> AgentConfig:
        """The core's settings; ``known`` is what the board says of itself."""
        values = self.values
        return AgentConfig(
            device_type=values.deviceType,
            poll_interval_ms=values.appUpdatePollInterval,
            request_timeout_ms=values.apiRequestTimeout,
            bootstrap_retry_ms=values.bootstrapRetryDelay,
            **known,
        )


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; download one for the fleet (Add device), or see"
            " README.md for the fields it needs"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        value = json.loads(text)
    except ValueError as error:
        where = f"{error.lineno}:{error.colno}: " if isinstance(error, json.JSONDecodeError) else ""
        words = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise ConfigError(f"{path}:{where or ' '}is not JSON: {words}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must hold a JSON object")
    return value
