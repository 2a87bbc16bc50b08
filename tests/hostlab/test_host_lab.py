"""The host lab: real packets are dropped, nothing is left behind, and what it cannot do it says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import aiohttp
import psutil
import pytest

from scenarios.checks import judge_all
from scenarios.clock import Clock
from scenarios.compile import compile_text
from scenarios.errors import LabError
from scenarios.hostlab import netns, nft
from scenarios.hostlab.cloud import CloudProcess
from scenarios.hostlab.lab import HostWorld, run_host
from scenarios.hostlab.places import PLACES
from scenarios.hostlab.steps import refuse_what_cannot_be
from scenarios.hostlab.topology import make_cloud, make_site, readdress
from scenarios.how import How, with_slack
from tests.hostlab.lab import Run, at_once, needs_host

if TYPE_CHECKING:
    from collections.abc import Iterator

FIREWALL = """
scenario: Short firewall
timeline:
  - {at: 0s, do: power_on}
  - {at: 4m, do: firewall, block: vpn, mode: drop, id: blocked}
  - {at: 7m, do: action, name: blink, expect: 404}
  - {at: 7m, do: firewall, allow: vpn, id: open}
  - {at: 12m, do: action, name: blink, expect: ok}
  - {at: 13m, do: end}
expect:
  - eventually: {overall_status: operational}
    after: power_on
    within: 4m
  - eventually: {overall_status: reduced-functionality, is_connected_to_vpn: false}
    after: blocked
    within: vpn_server_timeout + 40s
  - sequence: {overall_status: [operational, reduced-functionality, operational]}
    after: blocked
"""
POWER = """
scenario: Short power loss
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 4m, do: power_off, id: cut}
  - {at: 9m, do: power_on, id: back}
  - {at: 13m, do: end}
expect:
  - eventually: {overall_status: operational}
    after: power_on
    within: 4m
  - eventually: {overall_status: disconnected}
    after: cut
    within: 4m
  - eventually: {overall_status: operational}
    after: back
    within: 4m
"""
LOCK = """
scenario: Short lock
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 4m, do: lock, state: hold, service: main, id: held}
  - {at: 5m, do: release, commit: r2, services: {main: {size: 1 MB}}, id: released}
  - {at: 10m, do: lock, state: release, service: main, id: free}
  - {at: 15m, do: end}
expect:
  - eventually: {update_status: downloaded, running_release: r1}
    after: released
    within: 5m
  - always: {running_release: r1}
    from: released
    until: free
  - eventually: {update_status: done, running_release: r2, overall_status: operational}
    after: free
    within: 5m
"""


DEADLINE_S = 180.0


def _ours() -> list[str]:
    return sorted(path.name for path in netns.FOLDER.glob("fieldbeat-*"))


CONDITIONS = {"inprocess": POWER, "userspace": LOCK}
"""Each with another kind of tunnel."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Both at once."""
    needs_host("wireguard-go")
    folder = tmp_path_factory.mktemp("conditions")
    with at_once(folder, CONDITIONS, "--speed", "20", "--tunnel", "{}") as begun:
        yield begun


@pytest.mark.parametrize("kind", CONDITIONS)
def test_field_conditions_hold_with_real_programs(runs: dict[str, Run], kind: str) -> None:
    runs[kind].held()
    result = runs[kind].results()
    assert (result["lab"], result["passed"]) == ("host", True)
    assert (runs[kind].left(), netns.stale_sockets()) == ([], [])


def test_a_firewall_really_meets_packets_and_is_noticed() -> None:
    needs_host("wireguard-go")
    compiled = compile_text(FIREWALL)
    how = How(speed=20)
    history = run_host(compiled, how, seed=1)
    verdicts = judge_all(with_slack(compiled, how.slack_ms).expectations, history)
    assert [v.detail for v in verdicts if v.failed or v.unknown] == []
    (met,) = [note.text for note in history.notes if "site firewall" in note.text]
    assert int(met.split()[4]) > 5
    assert not any(name.startswith(netns.own_prefix()) for name in _ours())


@contextmanager
def _at_a_terminal(*, in_the_background: bool) -> Iterator[None]:
    """Programs begun inside hear its signals, though these tests may be run without one."""
    meant = {
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGINT: signal.SIG_IGN if in_the_background else signal.SIG_DFL,
    }
    before = {number: signal.signal(number, how) for number, how in meant.items()}
    try:
        yield
    finally:
        for number, how in before.items():
            signal.signal(number, how)


@contextmanager
def _under_way(
    folder: Path, *, in_the_background: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A run whose namespaces are there; it has ended afterwards, whatever the test finds."""
    file = folder / "case.scenario.yaml"
    file.write_text(FIREWALL)
    command = [sys.executable, "-m", "scenarios", "run", str(file), "--lab", "host"]
    with _at_a_terminal(in_the_background=in_the_background):
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end_s = time.monotonic() + DEADLINE_S
        # the cloud's, the device's and its router's
        while sum(f"-{run.pid}-" in name for name in _ours()) < 3:
            assert run.poll() is None
            assert time.monotonic() < end_s
            time.sleep(0.05)
        yield run
    finally:
        run.kill()
        run.wait()


def _words(process: psutil.Process) -> list[str]:
    """Of its command line: none of a program that has just ended, as `ip` and `nft` do."""
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def test_what_a_killed_run_leaves_behind_goes_with_the_next_one(tmp_path: Path) -> None:
    needs_host("wireguard-go")
    kept = f"fieldbeat-not-ours-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", kept], check=True)
    try:
        with _under_way(tmp_path) as killed:
            begun = psutil.Process(killed.pid).children()
            preloaded = [one for one in begun if "scenarios.hostlab.preloaded" in _words(one)]
            temporary, own = Path(tempfile.gettempdir()), f"fieldbeat-{killed.pid}-"
            assert list(temporary.glob(f"{own}*"))
        # what is left may be swept by any other run that begins or ends meanwhile
        netns.sweep(temporary)
        assert [name for name in _ours() if name.startswith(own)] == []
        assert list(temporary.glob(f"{own}*")) == []
        assert kept in _ours()
        assert len(preloaded) == 1
        assert psutil.wait_procs(preloaded, timeout=DEADLINE_S)[1] == []
    finally:
        subprocess.run(["ip", "netns", "del", kept], check=True)


def test_what_ran_in_a_namespace_is_gone_before_it_is() -> None:
    """Else it could still write to a folder that is being removed."""
    needs_host()
    names = netns.Names()
    space = names.make("big")
    fills = "held = bytearray(b'x') * 400_000_000; print('full', flush=True); input()"
    command = ["ip", "netns", "exec", space, sys.executable, "-c", fills]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as big:
        assert big.stdout is not None
        assert big.stdout.readline() == b"full\n"
        names.remove()
        assert psutil.Process(big.pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param((signal.SIGTERM,), id="terminated"),
        pytest.param((signal.SIGHUP,), id="its terminal is gone"),
        pytest.param((signal.SIGINT, signal.SIGTERM), id="in a hurry"),
        pytest.param((signal.SIGTERM, signal.SIGINT), id="in the background"),
    ],
)
def test_a_run_that_is_asked_to_end_takes_everything_with_it(
    tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    needs_host("wireguard-go")
    # a shell's background job ignores Ctrl-C
    ignores = signals[-1] is signal.SIGINT
    with _under_way(tmp_path, in_the_background=ignores) as asked:
        for number in signals:
            asked.send_signal(number)
        asked.wait(DEADLINE_S)
    assert not any(f"-{asked.pid}-" in name for name in _ours())
    left = Path(tempfile.gettempdir()).glob(f"fieldbeat-{asked.pid}-*")
    assert list(left) == []


def test_a_tunnel_of_programs_that_are_missing_is_refused_by_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"ip": "/sbin/ip", "nft": "/sbin/nft"}
    monkeypatch.setattr("shutil.which", there.get)
    with pytest.raises(LabError, match="needs wireguard-go: apt install wireguard-go"):
        netns.needs("userspace")


@pytest.mark.parametrize(
    ("said", "free", "words"),
    [
        ("cloudlink listens\nlab: cannot listen\nthere\n", 0, "lab: cannot listen / there"),
        ("", 10**9, "status 3"),
        ("", 0, "status 3, TMP is full"),
    ],
)
def test_a_cloud_that_ended_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, free: int, words: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))

    async def refused() -> None:
        raise aiohttp.ServerDisconnectedError

    async def ended() -> str:
        cloud = CloudProcess("nowhere", tmp_path, Clock.begin(), "inprocess", tls=False)
        cloud.log.write_text(said)
        cloud._process = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
        world = HostWorld(compile_text(FIREWALL), How(), seed=1, folder=tmp_path)
        world.cloud = cloud
        monkeypatch.setattr(world, "_set_up", refused)
        with pytest.raises(LabError) as caught:
            await world.run()
        return str(caught.value)

    told = asyncio.run(ended())
    assert told == f"the cloud ended: {words.replace('TMP', str(tmp_path))}"


def test_verbs_it_cannot_do_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.hostlab.steps.can_have_wires", lambda: "no /dev/net/tun")
    text = (
        "scenario: x\ntimeline:\n  - {at: 0s, do: power_on}\n  - {at: 1m, do: impair, loss: 1%}\n"
    )
    compiled = compile_text(text + "  - {at: 2m, do: end}\n")
    with pytest.raises(LabError, match=r"cannot do: impair \(no /dev/net/tun\)"):
        refuse_what_cannot_be(compiled)


def test_a_rule_names_place_direction_and_what_the_sender_sees() -> None:
    both = nft.table("t", [PLACES["vpn"]], mode="reject", outward=True, inward=True)
    rules = [c["add"]["rule"]["expr"] for c in both["nftables"] if "rule" in c["add"]]
    assert len(rules) == 4
    assert {next(iter(rule[-1])) for rule in rules} == {"reject"}
    fields = [rule[1]["match"]["left"]["payload"] for rule in rules]
    assert {"protocol": "udp", "field": "sport"} in fields
    silent = nft.table("t", [PLACES["api"]], mode="drop", outward=True, inward=False)
    rules = [c["add"]["rule"]["expr"] for c in silent["nftables"] if "rule" in c["add"]]
    assert [rule[-1] for rule in rules] == [{"drop": None}]


@pytest.mark.parametrize("moved", [False, True])
def test_a_server_that_chooses_no_address_speaks_from_the_vpns(*, moved: bool) -> None:
    """As wireguard-go does after a handshake without an answer; else it gets round a firewall."""
    needs_host()
    names = netns.Names()
    try:
        cloud = make_cloud(names)
        site = make_site(names, cloud, 1)
        address = "10.77.0.9" if moved else site.address
        if moved:
            readdress(site, cloud, address)
        with netns.socket_in(cloud, socket.AF_INET, socket.SOCK_DGRAM, 0) as server:
            server.connect((address, 9))
            assert server.getsockname()[0] == PLACES["vpn"].host
    finally:
        names.remove()


def test_a_fast_loop_sleeps_for_less() -> None:
    clock = Clock.begin(1_000)
    loop = clock.loop()
    began_s, began_ms = loop.time(), clock.now_ms()

    async def nap() -> None:
        async with asyncio.timeout(59_000):  # 59 s of ours
            await asyncio.sleep(60)

    loop.run_until_complete(nap())
    passed_s, passed_ms = loop.time() - began_s, clock.now_ms() - began_ms
    loop.close()
    assert passed_s >= 60
    assert passed_ms + 1 >= 60_000


def test_processes_of_a_lab_share_one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock.begin(60)
    for name, value in clock.environment().items():
        monkeypatch.setenv(name, value)
    other = Clock.begin(60)
    before, shown, after = clock.now_ms(), other.now_ms(), clock.now_ms()
    assert before <= shown <= after


def test_an_epoch_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDBEAT_EPOCH", "yesterday")
    with pytest.raises(LabError, match="no epoch"):
        Clock.begin()


def test_slack_widens_what_must_come_and_delays_what_must_hold() -> None:
    compiled = compile_text(FIREWALL)
    wider = with_slack(compiled, 2_000)
    for one, other in zip(compiled.expectations, wider.expectations, strict=True):
        if one.kind == "eventually":
            assert one.until_ms is not None
            assert other.until_ms == one.until_ms + 2_000
        else:
            assert other.from_ms == one.from_ms + 2_000
