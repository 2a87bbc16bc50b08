"""For every test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

collect_ignore_glob = ["data/*"]
"""Malformed scenarios are there to be refused by tests, not to be collected as ones."""
NEVER_SKIP = os.environ.get("FIELDBEAT_TESTS_SKIP") == "never"
"""Set by ``.ci/run``, which provides all that tests need: what skips there would go untested."""

# a busy machine is no reason to fail; what fails where a change is judged comes from the change
settings.register_profile(
    "fieldbeat",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=NEVER_SKIP,
)
settings.load_profile("fieldbeat")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test fails where nothing may be skipped."""
    report = yield
    if NEVER_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where everything must run: {report.longrepr}"
    return report
