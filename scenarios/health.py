"""Whether what runs in this container is well: ``python -m scenarios.health``, status 0 or 1."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

PLACES = ("http://127.0.0.1:8080/healthz", "http://127.0.0.1:48484/v1/healthy")
TIMEOUT_S = 5


def healthy() -> bool:
    """The first of the places where somebody listens says so."""
    for place in PLACES:
        try:
            with urllib.request.urlopen(place, timeout=TIMEOUT_S):  # noqa: S310  # loopback
                return True
        except urllib.error.HTTPError as answer:
            answer.close()
            return False
        except OSError:
            continue
    return False


if __name__ == "__main__":
    sys.exit(0 if healthy() else 1)
