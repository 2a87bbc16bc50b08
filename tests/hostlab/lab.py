"""Running the host lab in tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from scenarios.hostlab import netns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


class Run(NamedTuple):
    """A run of the host lab that was begun."""

    process: subprocess.Popen[str]
    document: Path

    def held(self) -> str:
        """What the command said in the end; all that was expected held."""
        said, _ = self.process.communicate(timeout=RUN_S)
        assert self.process.returncode == 0, said
        return said

    def results(self) -> dict[str, Any]:
        """Its result document."""
        found: dict[str, Any] = json.loads(self.document.read_text())
        return found

    def left(self) -> list[str]:
        """Namespaces, mounts and folders that it left behind."""
        own = f"fieldbeat-{self.process.pid}-"
        mounts = [line for line in netns.MOUNTS.read_text().splitlines() if own in line]
        folders = (netns.FOLDER, Path(tempfile.gettempdir()))
        return mounts + [str(path) for folder in folders for path in folder.glob(f"{own}*")]


@contextmanager
def at_once(folder: Path, cases: Mapping[str, str], *more: str) -> Iterator[dict[str, Run]]:
    """Runs of the host lab, begun together: they mostly wait.

    Args:
        folder: of their files.
        cases: name → the scenario's text.
        more: options of the command; ``{}`` is the name of the case.
    """
    begun = {}
    for name, text in cases.items():
        document = folder / f"{name}.json"
        words = ["--json", str(document), *(word.format(name) for word in more)]
        process = subprocess.Popen(
            command(folder / f"{name}.scenario.yaml", text, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        begun[name] = Run(process, document)
    try:
        yield begun
    finally:
        for run in begun.values():
            if run.process.poll() is None:
                run.process.kill()
            run.process.communicate()
