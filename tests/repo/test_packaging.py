"""The wheel holds the three packages and the library, and nothing that belongs to the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_the_three_packages_and_the_library(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    (wheel,) = tmp_path.glob("fieldbeat-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "agent",
        "cloud_stub",
        "scenarios",
    }
    assert "scenarios/spec.yaml" in names
    packaged = {name for name in names if name.endswith(".scenario.yaml")}
    library = (ROOT / "scenarios" / "library").rglob("*.scenario.yaml")
    assert packaged == {path.relative_to(ROOT).as_posix() for path in library}
