"""The service that runs where a release names no command: it lives until it is told to stop.

``python -m agent.daemon.workload [--lock] [--ignore-term]`` takes its update lock first, or lives
on until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys


def main(arguments: list[str]) -> None:
    """Wait for SIGTERM."""
    if "--lock" in arguments:
        os.close(os.open(os.environ["BALENA_APP_LOCK_PATH"], os.O_CREAT | os.O_EXCL))
    if "--ignore-term" in arguments:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
