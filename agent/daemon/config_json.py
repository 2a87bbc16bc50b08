"""config.json as balena writes it for a device: read with clear errors, written back atomically."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from yarl import URL

from ..config import AgentConfig, Persisted
from .files import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class ConfigError(Exception):
    """config.json cannot be used; the text names the file, the place and the remedy."""


def _endpoint(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be a URL such as https://api.balena-cloud.com")
    try:
        url = URL(value)
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must begin with https:// or http:// and name a host")
    return str(url).rstrip("/")


def _hex_name(value: Any) -> Any:
    if not isinstance(value, str) or len(value) not in (32, 62):
        raise ValueError("must be 32 (or 62) lower-case hexadecimal digits")
    if set(value) - set("0123456789abcdef"):
        raise ValueError("must be lower-case hexadecimal digits")
    return value


Endpoint = Annotated[str, BeforeValidator(_endpoint)]
Key = Annotated[str, Field(min_length=1)]
Milliseconds = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(gt=0, lt=65_536)]


class ConfigFile(BaseModel):
    """The fields an agent knows; all others are kept as they are."""

    model_config = ConfigDict(extra="allow")

    apiEndpoint: Endpoint  # noqa: N815  # the file's names
    applicationId: Annotated[int, Field(gt=0)] | None = None  # noqa: N815
    deviceType: Annotated[str, Field(min_length=1)]  # noqa: N815
    uuid: Annotated[str, BeforeValidator(_hex_name)] | None = None
    apiKey: Key | None = None  # noqa: N815
    """The provisioning key; gone once the device is registered."""
    deviceApiKey: Key | None = None  # noqa: N815
    registered_at: int | None = None
    deviceId: int | None = None  # noqa: N815
    appUpdatePollInterval: Milliseconds = 900_000  # noqa: N815
    apiRequestTimeout: Milliseconds = 59_000  # noqa: N815
    bootstrapRetryDelay: Milliseconds = 30_000  # noqa: N815
    listenPort: Port = 48_484  # noqa: N815
    balenaRootCA: str | None = None  # noqa: N815
    """Base64 of certificates (PEM) to trust besides the system's."""

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
        try:
            self.values = ConfigFile.model_validate(self._raw)
        except ValidationError as error:
            raise ConfigError(_told(path, error)) from None

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
            self.values = ConfigFile.model_validate(changed)

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


def _told(path: Path, error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        words = item["msg"].removeprefix("Value error, ")
        lines.append(f"{path}: {name}: {words[:1].lower()}{words[1:]}")
    return "\n".join(lines)
