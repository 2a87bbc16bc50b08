"""Cloudlink for real: agents and the stub's VPN service, over sockets, in real time made short."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from cloud_stub.settings import VpnSettings
from tests.daemon.running import agent, config_file, until
from tests.stub_cloud import SETTINGS, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.daemon.running import Agent
    from tests.stub_cloud import Fleet, Stub

PATIENT = VpnSettings(
    ping_interval_ms=300,
    client_timeout_ms=600_000,
    server_timeout_ms=1_200_000,
    report_period_ms=100,
    auth_fail_delay_ms=300,
)
"""Nobody takes a machine that has other things to do for silence."""
QUICK = replace(PATIENT, client_timeout_ms=1_800, server_timeout_ms=3_600)


@contextmanager
def cloud(folder: Path, timings: VpnSettings = PATIENT) -> Iterator[Stub]:
    """A stub with a VPN service instance."""
    instances = (("one", "127.0.0.1", 0),)
    with running(folder, replace(SETTINGS, vpn=instances, vpn_timings=timings)) as stub:
        yield stub


def vpn_config(folder: Path, stub: Stub, fleet: Fleet, name: str = "one", **more: Any) -> Path:
    """config.json of a device that knows the VPN service."""
    port = stub.server.vpn.running[name].port
    return config_file(folder, stub, fleet, vpnEndpoint="127.0.0.1", vpnPort=port, **more)


def _known(stub: Stub, found: Agent) -> str:
    until(lambda: "uuid" in found.config.read_text())
    uuid = found.uuid
    until(lambda: stub.ask("GET", f"/v7/device?$filter=uuid eq '{uuid}'").rows)
    return uuid


def _device(stub: Stub, uuid: str) -> Any:
    return stub.ask("GET", f"/v7/device(uuid='{uuid}')").rows[0]


def _connected(stub: Stub, uuid: str) -> bool:
    return bool(_device(stub, uuid)["is_connected_to_vpn"])


def test_a_device_becomes_operational_by_itself_and_takes_actions(tmp_path: Path) -> None:
    with cloud(tmp_path) as stub, agent(vpn_config(tmp_path, stub, stub.fleet())) as found:
        uuid = _known(stub, found)
        until(lambda: _connected(stub, uuid))
        until(lambda: _device(stub, uuid)["overall_status"] == "operational")
        until(lambda: stub.ask("POST", "/supervisor/v1/blink", {"uuid": uuid}).status == 200)
        secret = found.state["api_secret"]

        def vpn() -> Any:
            return found.ask("GET", "/v2/device/vpn", key=secret)[1]["vpn"]

        until(lambda: vpn() == {"enabled": True, "connected": True})
        status = {"uuid": uuid, "method": "GET"}
        asked = "POST", "/supervisor/v2/state/status", status
        shown = until(lambda: (told := stub.ask(*asked)).status == 200 and told)
        assert shown.json["status"] == "success"


def test_an_agent_that_ends_is_down_at_once(tmp_path: Path) -> None:
    with cloud(tmp_path) as stub:
        with agent(vpn_config(tmp_path, stub, stub.fleet())) as found:
            uuid = _known(stub, found)
            until(lambda: _connected(stub, uuid))
        until(lambda: not _connected(stub, uuid))
        answer = stub.ask("POST", "/supervisor/v1/blink", {"uuid": uuid})
        assert (answer.status, "No online device(s) found" in answer.raw.decode()) == (404, True)


def test_a_silent_agent_is_given_up_and_comes_back_by_itself(tmp_path: Path) -> None:
    with cloud(tmp_path, QUICK) as stub, agent(vpn_config(tmp_path, stub, stub.fleet())) as found:
        uuid = _known(stub, found)
        until(lambda: _connected(stub, uuid))
        found.process.send_signal(signal.SIGSTOP)
        until(lambda: not _connected(stub, uuid))
        found.process.send_signal(signal.SIGCONT)
        until(lambda: _connected(stub, uuid))


def test_the_tunnel_follows_the_configuration(tmp_path: Path) -> None:
    with cloud(tmp_path) as stub, agent(vpn_config(tmp_path, stub, stub.fleet())) as found:
        uuid = _known(stub, found)
        until(lambda: _connected(stub, uuid))
        number = _device(stub, uuid)["id"]
        variable = {"device": number, "name": "BALENA_SUPERVISOR_VPN_CONTROL", "value": "false"}
        made = stub.ask("POST", "/v7/device_config_variable", variable)
        secret = found.state["api_secret"]
        found.ask("POST", "/v1/update", {}, secret)
        until(lambda: not _connected(stub, uuid))
        assert found.ask("GET", "/v2/device/vpn", key=secret)[1]["vpn"]["enabled"] is False
        stub.ask("DELETE", f"/v7/device_config_variable({made.json['id']})")
        found.ask("POST", "/v1/update", {}, secret)
        until(lambda: _connected(stub, uuid))


def test_a_vpn_server_that_dies_is_left_and_found_again(tmp_path: Path) -> None:
    with cloud(tmp_path) as stub, agent(vpn_config(tmp_path, stub, stub.fleet())) as found:
        uuid = _known(stub, found)
        until(lambda: _connected(stub, uuid))
        secret = found.state["api_secret"]
        stub.wait(stub.server.vpn.end("one", killed=True))

        def told() -> Any:
            return found.ask("GET", "/v2/device/vpn", key=secret)[1]["vpn"]["connected"]

        until(lambda: not told())
        # nobody told the API: it shows what it heard last
        assert _connected(stub, uuid)
        first = _device(stub, uuid)["is_managed_by__service_instance"]
        stub.wait(stub.server.vpn.begin("one"))
        until(told)
        until(lambda: _device(stub, uuid)["is_managed_by__service_instance"] != first)
        assert _connected(stub, uuid)


def test_a_spare_vpn_server_runs_when_it_is_started_and_is_called_through(tmp_path: Path) -> None:
    """Of two that have a session of a device, the one that manages it is asked."""
    settings = replace(
        SETTINGS,
        vpn=(("one", "127.0.0.1", 0),),
        vpn_spares=(("two", "127.0.0.1", 0),),
        vpn_timings=PATIENT,
    )
    with running(tmp_path, settings) as stub:
        services = stub.server.vpn
        assert list(services.running) == ["one"]
        assert stub.ask("PUT", "/fieldbeat/v1/vpn/three", {"state": "up"}).status == 404
        assert stub.ask("PUT", "/fieldbeat/v1/vpn/two", {"state": "up"}).status == 200
        with agent(vpn_config(tmp_path, stub, stub.fleet(), "two")) as found:
            uuid = _known(stub, found)
            until(lambda: _connected(stub, uuid))
            assert _device(stub, uuid)["is_managed_by__service_instance"]["__id"] == 2
            # the other one has not noticed yet that the device has left it
            left = services.running["one"]
            left._by_uuid[uuid] = services.running["two"]._by_uuid[uuid]
            assert [s.reaches(uuid) for s in services.running.values()] == [True, True]
            until(lambda: stub.ask("POST", "/supervisor/v1/blink", {"uuid": uuid}).status == 200)
            del left._by_uuid[uuid]


@pytest.mark.parametrize("state", ["hang", "error"])
def test_a_vpn_server_in_trouble_is_left_and_found_again(tmp_path: Path, state: str) -> None:
    """One that hangs is silent; one that refuses every key lets nobody in any more."""
    timings = QUICK if state == "hang" else PATIENT
    with cloud(tmp_path, timings) as stub, agent(vpn_config(tmp_path, stub, stub.fleet())) as found:
        uuid = _known(stub, found)
        until(lambda: _connected(stub, uuid))
        secret = found.state["api_secret"]
        service = stub.server.vpn.running["one"]

        def told() -> Any:
            return found.ask("GET", "/v2/device/vpn", key=secret)[1]["vpn"]["connected"]

        def put(wanted: str) -> None:
            answer = stub.ask("PUT", "/fieldbeat/v1/vpn/one", {"state": wanted})
            assert (answer.status, answer.json["state"]) == (200, wanted)

        until(lambda: told() and _connected(stub, uuid))
        put(state)
        if state == "hang":
            until(lambda: not told())
            # it is stuck: it cannot even say who is gone
            assert _connected(stub, uuid)
        else:
            assert _connected(stub, uuid)
            for session in list(service._sessions.values()):
                stub.loop.call_soon_threadsafe(session.transport.abort)
            until(lambda: service.refused)
            until(lambda: not _connected(stub, uuid))
        put("up")
        until(told)
        until(lambda: _connected(stub, uuid))


def test_a_deleted_device_is_refused(tmp_path: Path) -> None:
    with cloud(tmp_path) as stub, agent(vpn_config(tmp_path, stub, stub.fleet())) as found:
        uuid = _known(stub, found)
        until(lambda: _connected(stub, uuid))
        stub.ask("DELETE", f"/v7/device(uuid='{uuid}')")
        # the server believes a key for a minute; a new one knows none
        stub.wait(stub.server.vpn.end("one", killed=True))
        stub.wait(stub.server.vpn.begin("one"))
        until(lambda: stub.server.vpn.running["one"].refused >= 1)


def test_clients_that_do_not_come_back_after_a_crash_are_taken_down(tmp_path: Path) -> None:
    with cloud(tmp_path) as stub:
        fleet = stub.fleet()
        with agent(vpn_config(tmp_path, stub, fleet)) as found:
            uuid = _known(stub, found)
            until(lambda: _connected(stub, uuid))
            stub.wait(stub.server.vpn.end("one", killed=True))
            assert _connected(stub, uuid)
    with cloud(tmp_path, QUICK) as stub:
        until(lambda: not _connected(stub, uuid))


@pytest.mark.parametrize(
    "hello",
    [
        "no JSON",
        "[]",
        "{}",
        '{"uuid": 5, "public_key": ""}',
        '{"uuid": "a", "public_key": "short"}',
        '{"uuid": "a", "public_key": "' + "A" * 43 + '="}',
        "x" * 10_000,
    ],
)
def test_a_client_that_talks_nonsense_is_shown_out(tmp_path: Path, hello: str) -> None:
    async def talk(port: int) -> int | None:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}/cloudlink"
            async with session.ws_connect(url) as ws:
                await ws.send_str(hello)
                async for _ in ws:
                    pass
                return ws.close_code

    with cloud(tmp_path) as stub:
        service = stub.server.vpn.running["one"]
        assert asyncio.run(talk(service.port)) in (1008, 1009)
        until(lambda: service.machine.idle)
