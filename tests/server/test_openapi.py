"""``docs/openapi.yaml`` is what the routes say, and schemathesis finds nothing against it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloud_stub.server.openapi import document, text
from tests.stub_cloud import running

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.yaml"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)
EXAMPLES = os.environ.get("FIELDBEAT_FUZZ_EXAMPLES", "20")


def test_the_document_is_made_from_the_routes() -> None:
    assert DOCUMENT.read_text() == text()


def _routes() -> Iterator[str]:
    for path, methods in document()["paths"].items():
        for method in methods:
            yield f"{method.upper()} {path}"


def test_every_route_has_a_word_for_people() -> None:
    assert len(list(_routes())) > 30
    for methods in document()["paths"].values():
        for operation in methods.values():
            assert operation["summary"]


def test_schemathesis_finds_no_server_error_and_no_violation(tmp_path: Path) -> None:
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("schemathesis is not installed")
    with running(tmp_path) as stub:
        command = [program, "run", str(DOCUMENT), "--url", stub.url, "--checks", CHECKS]
        # faults would make what follows fail on purpose
        command += ["--exclude-path", "/fieldbeat/v1/faults", "--max-examples", EXAMPLES]
        command += ["--seed", "1", "--phases", "examples,coverage,fuzzing", "--no-color"]
        command += ["-H", f"Authorization: Bearer {stub.token}"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=900
        )
    assert done.returncode == 0, done.stdout[-4_000:]
