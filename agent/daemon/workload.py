"""The service that runs where a release names no command: it lives until it is told to stop.

``python -m agent.daemon.workload [--lock] [--ignore-term] [--stop-time SECONDS]`` takes its update
lock first, lives on until it is killed, or takes its time to stop.
"""

from __future__ import annotations

import os
import signal
import sys
import time

STOP = "--stop-time"


def _stop(wait_s: float) -> None:
    time.sleep(wait_s)
    sys.exit(0)


def main(arguments: list[str]) -> None:
    """Wait for SIGTERM."""
    if "--lock" in arguments:
        os.close(os.open(os.environ["BALENA_APP_LOCK_PATH"], os.O_CREAT | os.O_EXCL))
    if "--ignore-term" in arguments:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        stop_s = float(arguments[arguments.index(STOP) + 1]) if STOP in arguments else 0.0
        signal.signal(signal.SIGTERM, lambda *_: _stop(stop_s))
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
