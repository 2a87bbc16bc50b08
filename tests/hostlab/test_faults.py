"""Faults of the host lab beside its firewall: each met by real programs, each taken away again."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scenarios.compile import compile_text
from tests.histories import not_held
from tests.hostlab.lab import RUN_S, Run, at_once, needs_host

if TYPE_CHECKING:
    from collections.abc import Iterator

LINK = """
scenario: A bad link
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 5m, do: dns, state: error, id: unresolved}
  - {at: 9m, do: dns, state: up, id: resolved}
  - {at: 13m, do: captive_portal, state: "on", id: captive}
  - {at: 18m, do: captive_portal, state: "off", id: free}
  - {at: 23m, do: impair, loss: 100%, id: lost}
  - {at: 29m, do: impair, clear: true, latency: 300ms, jitter: 50ms, rate: 200 kB/s, id: slow}
  - {at: 34m, do: dhcp, address: 10.77.0.9, id: moved}
  - {at: 40m, do: end}
expect:
  - eventually: {overall_status: operational}
    after: power_on
    within: 5m
  - eventually: {connectivity: Cloudlink Only}
    after: unresolved
    within: 4m
  - eventually: {overall_status: operational}
    after: resolved
    within: 4m
  - eventually: {overall_status: disconnected}
    after: captive
    within: 5m
  - eventually: {overall_status: operational}
    after: free
    within: 5m
  - eventually: {overall_status: disconnected}
    after: lost
    within: 6m
  - eventually: {overall_status: operational}
    after: slow
    within: 5m
  - always: {is_connected_to_vpn: true}
    from: moved + 4m
"""
BOARD = """
scenario: A board and its account
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 5m, do: supervisor, state: stop, id: stopped}
  - {at: 9m, do: supervisor, state: start, id: started}
  - {at: 12m, do: supervisor, state: hang, id: hung}
  - {at: 16m, do: supervisor, state: start, id: again}
  - {at: 19m, do: undervolt, state: "on", id: weak}
  - {at: 19m, do: service, name: main, state: crash, id: crashed}
  - {at: 19m, do: registry, state: down, id: unserved}
  - {at: 19m30s, do: release, commit: r2, services: {main: {size: 1 MB}}, id: released}
  - {at: 23m, do: registry, state: up, id: served}
  - at: 30m
    do: config
    level: fleet
    name: BALENA_SUPERVISOR_VPN_CONTROL
    value: "false"
    id: disabled
  - {at: 34m, do: account, set: deactivated, id: gone}
  - {at: 35m, do: end}
expect:
  - eventually: {overall_status: operational}
    after: power_on
    within: 5m
  - eventually: {connectivity: Cloudlink Only}
    after: stopped
    within: 4m
  - always: {is_connected_to_vpn: true}
    from: stopped
    until: disabled
  - eventually: {overall_status: operational}
    after: started
    within: 3m
  - eventually: {connectivity: Cloudlink Only}
    after: hung
    within: 4m
  - eventually: {overall_status: operational}
    after: again
    within: 3m
  - eventually: {is_undervolted: true}
    after: weak
    within: 6m
  - always: {running_release: r1}
    from: released
    until: served
  - eventually: {running_release: r2}
    after: served
    within: 6m
  - eventually: {is_connected_to_vpn: false, overall_status: operational}
    after: disabled
    within: 4m
  - eventually: {overall_status: inactive}
    after: gone
    within: 50s
"""


SPEED = "25"


DISK = """
scenario: A disk that takes nothing
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 5m, do: disk, state: read_only, id: stuck}
  - {at: 6m, do: release, commit: r2, services: {main: {size: 1 MB}}, id: released}
  - {at: 9m, do: disk, state: full, id: filled}
  - {at: 12m, do: disk, state: ok, id: well}
  - {at: 20m, do: end}
expect:
  - eventually: {overall_status: operational}
    after: power_on
    within: 5m
  - always: {running_release: r1}
    from: released
    until: well
  - eventually: {running_release: r1, update_status: downloading}
    after: filled
    within: 2m
  - eventually: {running_release: r2, update_status: done}
    after: well
    within: 8m
"""
PEOPLE = """
scenario: People while the API is away
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 4m, do: api, state: down}
  - {at: 4m10s, do: action, name: blink}
  - {at: 4m20s, do: release, commit: r2, services: {main: {size: 1 MB}}, id: released}
  - {at: 6m, do: api, state: up, id: up}
  - {at: 11m, do: cloud_restart, down_for: 1m}
  - {at: 11m10s, do: release, commit: r3, services: {main: {size: 1 MB}}}
  - {at: 11m20s, do: network, state: down, id: dark}
  - {at: 15m, do: network, state: up, id: light}
  - {at: 20m, do: end}
expect:
  - always: {running_release: r1}
    from: released
    until: up
  - eventually: {running_release: r2}
    after: up
    within: 4m
  - always: {running_release: r2}
    from: dark
    until: light
  - eventually: {running_release: r3}
    after: light
    within: 4m
"""
RUNS = {"link": LINK, "board": BOARD, "disk": DISK, "people": PEOPLE}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All of them at once."""
    needs_host()
    with at_once(tmp_path_factory.mktemp("faults"), RUNS, "--speed", SPEED) as begun:
        yield begun


@pytest.mark.parametrize("name", RUNS)
def test_faults_are_met_and_nothing_is_left(runs: dict[str, Run], name: str) -> None:
    runs[name].held()
    assert runs[name].left() == []


@pytest.mark.parametrize("text", RUNS.values(), ids=RUNS)
def test_the_model_says_the_same(text: str) -> None:
    assert not_held(compile_text(text)) == []


# --- without root ---------------------------------------------------------------------------------

SHORT = """
scenario: Short reject
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 5m, do: firewall, block: vpn, mode: reject, id: blocked}
  - {at: 7m, do: dns, state: hang, id: unresolved}
  - {at: 11m, do: end}
expect:
  - eventually: {overall_status: operational}
    after: power_on
    within: 5m
  - eventually: {connectivity: Heartbeat Only}
    after: blocked
    within: 10s
  - eventually: {overall_status: disconnected}
    after: unresolved
    within: 4m
"""
FILLED = (
    "expect:",
    """  - {at: 30s, do: disk, state: full}
  - {at: 40s, do: disk, state: read_only}
  - {at: 50s, do: disk, state: ok}
expect:""",
)
WIRE = """
scenario: Bad
timeline:
  - {at: 0s, do: power_on}
  - {at: 1s, do: impair, loss: 1%}
  - {at: 2s, do: end}
"""
_AS_NOBODY = """
place=$1 && shift
for what in python site code; do
  mount --bind "$1" "$place/$what" && shift
done
# on some machines everybody may make interfaces
: >"$place/tun" && chmod 600 "$place/tun" && mount --bind "$place/tun" /dev/net/tun
cd /
exec setpriv --reuid=65534 --regid=65534 --clear-groups env -i PATH="$PATH" HOME=/ \
  LD_LIBRARY_PATH="$place/python/lib" PYTHONDONTWRITEBYTECODE=1 \
  PYTHONPATH="$place/code:$place/site" "$place/$1" -m scenarios $2
"""


@contextmanager
def _shown_to_everybody() -> Iterator[Path]:
    """A folder that anybody may read; what is mounted there goes with its namespace of mounts."""
    place = Path(tempfile.mkdtemp(prefix="fieldbeat-test-"))
    try:
        place.chmod(place.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
        for name in ("python", "site", "code"):
            (place / name).mkdir()
        yield place
    finally:
        shutil.rmtree(place)


def _as_nobody(place: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The same Python and code, by a user who may do nothing."""
    file = place / "case.scenario.yaml"
    file.write_text(text)
    file.chmod(0o644)
    base = Path(sys.base_prefix)
    python = Path(sys._base_executable).resolve().relative_to(base.resolve())  # type: ignore[attr-defined]
    sources = (base, Path(sysconfig.get_path("platlib")), Path(__file__).parents[2])
    line = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _AS_NOBODY, "sh"]
    line += [str(place), *map(str, sources), f"python/{python}", " ".join(words)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=RUN_S)


def test_it_runs_without_root_in_namespaces_of_its_own() -> None:
    needs_host("unshare", "setpriv")
    with _shown_to_everybody() as place:
        file = str(place / "case.scenario.yaml")
        words = ("run", file, "--lab", "host", "--speed", "20")
        done = _as_nobody(place, SHORT.replace(*FILLED), *words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_the_right_to_make_cables_it_names_what_it_cannot_do() -> None:
    needs_host("unshare", "setpriv")
    with _shown_to_everybody() as place:
        done = _as_nobody(place, WIRE, "run", str(place / "case.scenario.yaml"), "--lab", "host")
    assert (done.returncode, "cannot do: impair (/dev/net/tun: perm" in done.stderr) == (3, True)
