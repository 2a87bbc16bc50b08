"""Deltas: an image made from one that is on the disk and what is different (``SUPERVISOR.md §5``).

A delta server (``/api/v3/delta``) gives the name of an image that holds the difference; balena's
engine pulls it like any other, and applies it.  Here images are files that nobody opens: the new
image is all of the old one's and all of the delta's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

BASE_LABEL, CONFIG_LABEL = "io.resin.delta.base", "io.resin.delta.config"
"""Of a delta: the configuration's digest of the image that it starts from, and the configuration of
the one that it makes."""
MAGIC = b"rs\x026"
"""A delta of librsync begins so (``RS_DELTA_MAGIC``)."""
MISSING, PROCESSING = (404,), (502, 504)
"""What a delta server answers where it has none, and where it is still making it."""
NAME_MAX = 64 * 1024


class DeltaError(Exception):
    """A delta cannot be had (``none``) or not be applied (``broken``); the text says why."""

    def __init__(self, kind: Literal["none", "broken"], words: str) -> None:
        super().__init__(words)
        self.kind: Literal["none", "broken"] = kind


def made_config(config: bytes, base: str) -> bytes:
    """The configuration of the image that a delta makes; it must start from the one we have.

    Args:
        config: the delta's own configuration.
        base: digest of our image's.

    Raises:
        DeltaError: it does not: the whole image is to be pulled.
    """
    try:
        value = json.loads(config)
    except ValueError:
        value = None
    inner = value.get("config") if isinstance(value, dict) else None
    labels = inner.get("Labels") if isinstance(inner, dict) else None
    made = labels.get(CONFIG_LABEL) if isinstance(labels, dict) else None
    if not isinstance(labels, dict) or labels.get(BASE_LABEL) != base or not isinstance(made, str):
        raise DeltaError("none", "the delta is not from the image that is here")
    try:
        return made.encode()
    except UnicodeEncodeError:
        raise DeltaError("broken", "the delta's configuration is no text") from None


def check_layer(path: Path) -> None:
    """A delta's layer must be one.

    Raises:
        DeltaError: it cannot be applied.
    """
    with path.open("rb") as layer:
        if layer.read(len(MAGIC)) != MAGIC:
            raise DeltaError("broken", "the delta cannot be applied")
