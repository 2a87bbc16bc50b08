"""The pytest plugin: scenario files are tests, and fixtures for a person's own.

``pytest FOLDER`` collects ``*.scenario.yaml``: a test for each variant of its parameters.  Nothing
heavy is imported before a test needs it, since pytest loads every installed plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..model import Scenario
    from ..results import ScenarioResult
    from .fleet import VirtualFleet
    from .stub import Device, Stub

SUFFIX = ".scenario.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of scenario tests."""
    group = parser.getgroup("fieldbeat")
    group.addoption(
        "--fieldbeat-seed", type=int, metavar="N", help="Of all randomness of scenarios."
    )
    group.addoption(
        "--fieldbeat-param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A parameter of scenarios; again for more.",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """A scenario file is a module of tests."""
    if file_path.name.endswith(SUFFIX):
        found: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
        return found
    return None


class ScenarioFile(pytest.File):
    """A scenario file."""

    def collect(self) -> Iterator[pytest.Item]:
        """A test for each variant of its parameters."""
        from ..cli.inputs import given_of
        from ..compile import compile_variants
        from ..errors import InputError, InputErrors
        from ..params import NOTHING_GIVEN

        try:
            given = given_of(self.config.getoption("--fieldbeat-param"))
            # a parameter is for the files that have it
            path = _near(self.path, self.config.invocation_params.dir)
            made = compile_variants(path, given=given or NOTHING_GIVEN, seed=self.seed)
        except (InputError, InputErrors) as error:
            raise self.CollectError(str(error)) from None
        for scenario in made:
            yield ScenarioItem.from_parent(self, name=scenario.name, scenario=scenario)

    @property
    def seed(self) -> int | None:
        """``--fieldbeat-seed``."""
        seed: int | None = self.config.getoption("--fieldbeat-seed")
        return seed


def _near(path: Path, folder: Path) -> Path:
    """The path as seen from a folder, where it lies below."""
    return path.relative_to(folder) if path.is_relative_to(folder) else path


class ScenarioFailedError(Exception):
    """Some expectations of a scenario did not hold."""

    def __init__(self, result: ScenarioResult) -> None:
        super().__init__(result.scenario.name)
        self.result = result


class ScenarioItem(pytest.Item):
    """A scenario."""

    def __init__(self, *, scenario: Scenario, **given: Any) -> None:
        super().__init__(**given)
        self.scenario = scenario
        for tag in scenario.tags:
            self.extra_keyword_matches.add(tag)

    def runtest(self) -> None:
        """Run it in the virtual lab and judge it; JUnit gets what identifies it and what failed."""
        from ..running import run_scenario

        result = run_scenario(self.scenario, lab="virtual", seed=None, devices_option=None)
        properties = {
            "scenario": self.scenario.name,
            "file": self.scenario.file.as_posix(),
            "seed": result.seed,
            "spec": " ".join(self.scenario.spec),
            "simulated_seconds": result.history.end_ms / 1_000,
        }
        missed = [row for row in result.rows if not row.passed]
        if missed:
            properties |= {"expectation": missed[0].text, "line": missed[0].line}
        self.user_properties.extend(properties.items())
        if missed:
            raise ScenarioFailedError(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The story of what did not hold; what is no verdict is shown as pytest does."""
        if isinstance(excinfo.value, ScenarioFailedError):
            return excinfo.value.result.story
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The file and the scenario's name."""
        return self.path, 0, self.name


# --- fixtures -----------------------------------------------------------------------------------


class Runs(Protocol):
    """What ``fieldbeat_run`` is."""

    def __call__(
        self,
        scenario: str | Path,
        *,
        seed: int | None = None,
        devices: int | None = None,
        **params: str,
    ) -> ScenarioResult:
        """Run a scenario file, or the text of one, in the virtual lab."""


@pytest.fixture
def fieldbeat_run(request: pytest.FixtureRequest) -> Runs:
    """Run a scenario, a file or its text: ``result.passed``, ``result.story``, ``result.history``.

    A path is relative to the test's own file.
    """
    from ..compile import compile_text, compile_variants
    from ..running import run_scenario

    folder = request.path.parent

    def run(
        scenario: str | Path,
        *,
        seed: int | None = None,
        devices: int | None = None,
        **params: str,
    ) -> ScenarioResult:
        given = {name: (value,) for name, value in params.items()}
        if isinstance(scenario, str) and "\n" in scenario:
            made = compile_text(scenario, devices=devices, seed=seed, given=given)
        else:
            (made, *others) = compile_variants(
                folder / scenario, devices=devices, seed=seed, given=given
            )
            if others:
                names = ", ".join(made.params)
                raise ValueError(f"the file is several scenarios: choose one, by {names}")
        return run_scenario(made, lab="virtual", seed=None, devices_option=devices)

    return run


@pytest.fixture
def virtual_fleet() -> type[VirtualFleet]:
    """Make a fleet in simulated time: ``do(…)``, ``advance("30m")``, ``fleet["device-1"]``."""
    from .fleet import VirtualFleet

    return VirtualFleet


@pytest.fixture
def stub_cloud(tmp_path: Path) -> Iterator[Stub]:
    """A real stub cloud on a free port of loopback, with its database in a folder of the test.

    ``stub.url``, ``stub.ask(method, path, …)``, ``stub.fleet(name).device(uuid)``.
    """
    try:
        from .stub import running
    except ImportError as error:
        pytest.fail(
            f"stub_cloud needs more packages ({error.name}): pip install 'fieldbeat[cloud]'"
        )
    with running(tmp_path) as stub:
        yield stub


@pytest.fixture
def stub_device(stub_cloud: Stub) -> Device:
    """A device registered at ``stub_cloud``: ``poll()``, ``report({…})``, ``cloudlink(up=True)``,
    ``row(…)``."""
    return stub_cloud.fleet("pytest").device("f1e1d" + "0" * 27)
