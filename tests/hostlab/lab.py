"""Running the host lab in tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

RUN_S = 400
"""A run that takes so long hangs; a machine may be slow."""


def needs_host(*tools: str) -> None:
    """Skip where namespaces or programs are missing."""
    missing = [tool for tool in ("ip", "nft", *tools) if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'namespaces'}")


def command(file: Path, text: str, *more: str) -> list[str]:
    """``fieldbeat run`` of a scenario, which is written to a file, in the host lab."""
    file.write_text(text)
    return [sys.executable, "-m", "scenarios", "run", str(file), "--lab", "host", *more]


@contextmanager
def at_once(
    folder: Path, cases: Mapping[str, tuple[str, ...]]
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Runs of the host lab, begun together: they mostly wait.

    Args:
        folder: of their files.
        cases: name → the scenario's text and options of the command.
    """
    begun = {
        name: subprocess.Popen(
            command(folder / f"{name}.scenario.yaml", text, *more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, (text, *more) in cases.items()
    }
    try:
        yield begun
    finally:
        for process in begun.values():
            if process.poll() is None:
                process.kill()
            process.communicate()
