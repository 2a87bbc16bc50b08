"""What an agent keeps over a power cut: config.json and one file of state, each replaced whole.

Files, not a database: the core hands over one whole value (``Persisted``) at each change, a few
kilobytes a few times per update, and a renamed file needs no recovery and can be read with any
editor on a board.  Keys and ids live in config.json, where the real device has them; each of the
two files is right by itself, whichever of them a power cut left behind.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from ..config import ImageRow, Persisted
from .config_json import ConfigError
from .files import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from .config_json import DeviceConfig

VERSION = 1
_PLAIN = ("target", "target_rejected", "initial_env_reported", "api_secret")


class Disk(Protocol):
    """Where a device's ``Persisted`` lives."""

    def load(self) -> Persisted:
        """The last value saved."""
        ...

    def save(self, state: Persisted) -> None:
        """Replace it, durably."""
        ...


class MemoryDisk:
    """For many devices in one process: gone with it."""

    def __init__(self, state: Persisted) -> None:
        self._state = state

    def load(self) -> Persisted:
        """The last value saved."""
        return self._state

    def save(self, state: Persisted) -> None:
        """Replace it."""
        self._state = state


class FileDisk:
    """config.json, and ``state.json`` in a folder."""

    def __init__(self, config: DeviceConfig, folder: Path) -> None:
        self._config = config
        self._path = folder / "state.json"
        self._stored: dict[str, Any] = {}

    def load(self) -> Persisted:
        """The last value saved; of a new device, what config.json says.

        Raises:
            ConfigError: the file of state is of a later version, or is none.
        """
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Persisted(**self._config.identity())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self._path}: cannot be read ({error}); move it away and the device starts with"
                " an empty one, its keys are in config.json"
            ) from None
        if not isinstance(stored, dict) or stored.get("version") != VERSION:
            raise ConfigError(f"{self._path}: was written by another version of fieldbeat")
        self._stored = stored
        return Persisted(
            **self._config.identity(),
            **{name: stored[name] for name in _PLAIN},
            current_commits=MappingProxyType(stored["current_commits"]),
            config=MappingProxyType(stored["config"]),
            host=MappingProxyType(stored.get("host", {})),
            tags=MappingProxyType(stored.get("tags", {})),
            images=tuple(ImageRow(*row) for row in stored["images"]),
        )

    def save(self, state: Persisted) -> None:
        """Write what changed.

        Raises:
            OSError: the disk takes nothing; the old files are as they were.
        """
        self._config.write_back(state)
        stored = {
            "version": VERSION,
            **{name: getattr(state, name) for name in _PLAIN},
            "current_commits": dict(state.current_commits),
            "config": dict(state.config),
            "host": dict(state.host),
            "tags": dict(state.tags),
            "images": [list(row) for row in state.images],
        }
        if stored != self._stored:
            write_json(self._path, stored)
            self._stored = stored
