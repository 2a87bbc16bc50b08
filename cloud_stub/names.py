"""Names for devices that come without one, as people read them: ``purple-wood``."""

from __future__ import annotations

from hashlib import blake2b

_FIRST = (
    *("amber", "bitter", "bold", "bright", "brisk", "calm", "clear", "cool", "crimson", "damp"),
    *("dawn", "deep", "dry", "dusty", "early", "empty", "fading", "falling", "fancy", "frosty"),
    *("gentle", "golden", "green", "hidden", "hollow", "icy", "late", "little", "lively", "long"),
    *("lucky", "misty", "muddy", "noisy", "odd", "old", "patient", "plain", "polished", "proud"),
    *("purple", "quiet", "rapid", "red", "restless", "rough", "round", "shy", "silent", "small"),
    *("snowy", "solitary", "still", "summer", "twilight", "wandering", "weathered", "wild"),
)
_SECOND = (
    *("bird", "breeze", "brook", "bush", "cloud", "dew", "dream", "dust", "feather", "field"),
    *("fire", "flower", "fog", "forest", "frog", "frost", "glade", "glitter", "grass", "haze"),
    *("hill", "lake", "leaf", "meadow", "moon", "morning", "mountain", "night", "paper", "pine"),
    *("plane", "pond", "rain", "resonance", "river", "sea", "shadow", "shape", "silence", "sky"),
    *("smoke", "snow", "sound", "star", "sun", "sunset", "surf", "thunder", "tree", "violet"),
    *("voice", "water", "wave", "wildflower", "wind", "wood"),
)


def name_of(uuid: str) -> str:
    """The same name for the same uuid."""
    digest = blake2b(uuid.encode(), digest_size=8).digest()
    first = int.from_bytes(digest[:4], "big") % len(_FIRST)
    second = int.from_bytes(digest[4:], "big") % len(_SECOND)
    return f"{_FIRST[first]}-{_SECOND[second]}"
