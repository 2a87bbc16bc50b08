"""The history: pages, streams, and the same over a real MQTT broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import aiomqtt
import pytest

from tests.ports import free_port
from tests.stub_cloud import SETTINGS, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stub_cloud import Device, Stub

UUID = "d94a49732bbae3105908d6442b4dcb59"
WAIT_S = 60


@pytest.fixture
def device(stub: Stub) -> Device:
    return stub.fleet().device(UUID)


def test_every_change_is_an_event_with_its_cause(stub: Stub, device: Device) -> None:
    device.poll()
    page = stub.ask("GET", f"/fieldbeat/v1/events?device={UUID}&field=overall_status").json
    (event,) = page["events"]
    assert (event["from"], event["to"], event["cause"]) == (
        "inactive",
        "reduced-functionality",
        "heartbeat",
    )
    assert (event["fleet"], page["next"]) == (device.fleet.id, None)


def test_pages_follow_each_other_without_a_gap(stub: Stub, device: Device) -> None:
    for number in range(5):
        device.report({"provisioning_progress": number})
    seen, after = [], 0
    while True:
        page = stub.ask("GET", f"/fieldbeat/v1/events?limit=3&after={after}").json
        seen += [event["id"] for event in page["events"]]
        if page["next"] is None:
            break
        after = page["next"]
    whole = stub.ask("GET", "/fieldbeat/v1/events?limit=1000").json["events"]
    assert seen == [event["id"] for event in whole]
    assert len(seen) >= 5


@pytest.mark.parametrize("query", ["limit=x", "since=yesterday", "fleet=-1", "after=1e9"])
def test_a_wrong_parameter_is_named(stub: Stub, query: str) -> None:
    assert stub.ask("GET", f"/fieldbeat/v1/events?{query}").status == 400


def test_a_person_sees_the_events_of_their_own_fleets(stub: Stub, device: Device) -> None:
    device.poll()
    body = {"username": "guest", "email": "guest@example.com", "password": "another password"}
    stub.ask("POST", "/fieldbeat/v1/users", body)
    login = {"username": "guest", "password": "another password"}
    guest = stub.ask("POST", "/login_", login, key=None).raw.decode()
    assert stub.ask("GET", "/fieldbeat/v1/events", key=guest).json["events"] == []
    assert stub.ask("GET", "/fieldbeat/v1/events", key=device.key).status == 401
    assert stub.ask("GET", "/fieldbeat/v1/events", key=None).status == 401


def test_old_events_are_forgotten(tmp_path: Path) -> None:
    with running(tmp_path, replace(SETTINGS, retention_s=0.2)) as stub:
        stub.fleet().device(UUID).poll()
        _until(lambda: stub.ask("GET", "/fieldbeat/v1/events").json["events"] == [])


def test_server_sent_events_bring_changes_as_they_happen(stub: Stub, device: Device) -> None:
    async def follow() -> dict[str, Any]:
        url = f"{stub.url}/fieldbeat/v1/events/stream?field=api_heartbeat_state"
        headers = {"Authorization": f"Bearer {stub.token}"}
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            await answer.content.readline()
            await asyncio.to_thread(device.poll)
            async for line in answer.content:
                if line.startswith(b"data: "):
                    found: dict[str, Any] = json.loads(line[6:])
                    return found
        raise AssertionError

    event = asyncio.run(asyncio.wait_for(follow(), WAIT_S))
    assert (event["device"], event["to"]) == (UUID, "online")


def test_a_websocket_brings_the_same(stub: Stub, device: Device) -> None:
    async def follow() -> dict[str, Any]:
        url = f"{stub.url}/fieldbeat/v1/events/stream?device={UUID}&field=api_heartbeat_state"
        headers = {"Authorization": f"Bearer {stub.token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers=headers) as ws,
        ):
            await asyncio.to_thread(device.poll)
            found: dict[str, Any] = json.loads(await ws.receive_bytes(timeout=WAIT_S))
            return found

    assert asyncio.run(asyncio.wait_for(follow(), WAIT_S))["to"] == "online"


# --- MQTT ---------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[int, Any]]:
    """A mosquitto of its own: its port, and how to start it again."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    running_now: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        running_now.append(
            subprocess.Popen(
                [program, "-c", str(config)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        )
        _until(lambda: _listens(port))

    def stop() -> None:
        running_now[-1].terminate()
        running_now[-1].wait(WAIT_S)

    start.stop = stop  # type: ignore[attr-defined]
    start()
    yield port, start
    stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _retained(port: int, topic: str, wanted: int) -> dict[str, Any]:
    """Retained messages below a topic, by topic."""
    found: dict[str, Any] = {}
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic, qos=1)
        async for message in client.messages:
            found[str(message.topic)] = json.loads(message.payload)  # type: ignore[arg-type]
            if len(found) >= wanted:
                break
    return found


def test_changes_are_published_and_retained(tmp_path: Path, broker: tuple[int, Any]) -> None:
    port, _ = broker
    with running(tmp_path, replace(SETTINGS, mqtt=f"mqtt://127.0.0.1:{port}")) as stub:
        device = stub.fleet().device(UUID)
        device.poll()
        topic = f"fieldbeat/{device.fleet.id}/{UUID}/status/api_heartbeat_state"
        found = asyncio.run(asyncio.wait_for(_retained(port, topic, 1), WAIT_S))
        assert found[topic]["to"] == "online"
        assert found[topic]["cause"] == "heartbeat"


def test_what_happened_while_the_broker_was_away_is_published_after(
    tmp_path: Path, broker: tuple[int, Any]
) -> None:
    port, start = broker
    with running(tmp_path, replace(SETTINGS, mqtt=f"mqtt://127.0.0.1:{port}")) as stub:
        device = stub.fleet().device(UUID)
        device.poll()
        _until(lambda: stub.server._publisher.published > 3)  # type: ignore[union-attr]
        start.stop()
        device.report({"provisioning_state": "Downloading OS", "provisioning_progress": 5})
        start()
        topic = f"fieldbeat/{device.fleet.id}/{UUID}/status/provisioning_state"
        found = asyncio.run(asyncio.wait_for(_retained(port, topic, 1), 3 * WAIT_S))
        assert found[topic]["to"] == "Downloading OS"


def test_a_server_stops_though_a_cancellation_is_lost(
    tmp_path: Path, broker: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = aiomqtt.Client.publish
    last, acknowledged = threading.Event(), threading.Event()

    async def loses_it(client: aiomqtt.Client, topic: str, payload: bytes, **more: Any) -> None:
        await publish(client, topic, payload, **more)
        if last.is_set() and b"Later" in payload and not acknowledged.is_set():
            acknowledged.set()
            # as wait_for does where the acknowledgement comes in the same turn
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    monkeypatch.setattr(aiomqtt.Client, "publish", loses_it)
    port, _ = broker
    with running(tmp_path, replace(SETTINGS, mqtt=f"mqtt://127.0.0.1:{port}")) as stub:
        device = stub.fleet().device(UUID)
        device.poll()
        _until(lambda: stub.server._publisher.published > 3)  # type: ignore[union-attr]
        last.set()
        device.report({"provisioning_state": "Later"})
        assert acknowledged.wait(WAIT_S)
    assert stub.server._publisher._task.done()  # type: ignore[union-attr]


def test_an_event_that_did_not_arrive_is_published_again(
    tmp_path: Path, broker: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, tries = aiomqtt.Client.publish, []

    async def fails_once(client: aiomqtt.Client, topic: str, payload: bytes, **more: Any) -> None:
        event = json.loads(payload)
        if (event["to"], event["cause"] != "snapshot") == ("Later", True):
            tries.append(topic)
            if len(tries) == 1:
                raise aiomqtt.MqttError("the connection is lost")
        await publish(client, topic, payload, **more)

    monkeypatch.setattr(aiomqtt.Client, "publish", fails_once)
    port, _ = broker
    with running(tmp_path, replace(SETTINGS, mqtt=f"mqtt://127.0.0.1:{port}")) as stub:
        device = stub.fleet().device(UUID)
        device.poll()
        _until(lambda: stub.server._publisher.published > 3)  # type: ignore[union-attr]
        device.report({"provisioning_state": "Later"})
        _until(lambda: len(tries) == 2)


def test_a_broker_that_forgot_is_told_what_stands(tmp_path: Path, broker: tuple[int, Any]) -> None:
    port, start = broker
    with running(tmp_path, SETTINGS) as stub:
        device = stub.fleet().device(UUID)
        device.poll()
        _until(lambda: device.row("api_heartbeat_state") == {"api_heartbeat_state": "online"})
    # nothing of the above was published; a server starts again on the same store
    with running(tmp_path, replace(SETTINGS, mqtt=f"mqtt://127.0.0.1:{port}")) as stub:
        topic = f"fieldbeat/{device.fleet.id}/{UUID}/status/#"
        fields = len(stub.ask("GET", f"/fieldbeat/v1/devices/{UUID}").json)
        found = asyncio.run(asyncio.wait_for(_retained(port, topic, fields), WAIT_S))
        state = found[topic.replace("#", "api_heartbeat_state")]
        assert (state["to"], state["cause"]) == ("online", "snapshot")
        start.stop()
        start()  # it keeps nothing over a restart
        found = asyncio.run(asyncio.wait_for(_retained(port, topic, fields), 3 * WAIT_S))
        assert found[topic.replace("#", "overall_status")]["to"] == "reduced-functionality"


def test_a_publisher_that_fell_behind_while_the_broker_was_away_goes_on(
    tmp_path: Path, broker: tuple[int, Any]
) -> None:
    port, start = broker
    start.stop()
    with running(tmp_path, replace(SETTINGS, mqtt=f"mqtt://127.0.0.1:{port}")) as stub:
        device = stub.fleet().device(UUID)
        for subscriber in list(stub.server.history.subscribers):
            subscriber.lost = True
        device.poll()
        start()
        topic = f"fieldbeat/{device.fleet.id}/{UUID}/status/"
        found = asyncio.run(
            asyncio.wait_for(_retained(port, topic + "api_heartbeat_state", 1), 3 * WAIT_S)
        )
        assert found[topic + "api_heartbeat_state"]["to"] == "online"
        _until(lambda: not any(other.lost for other in list(stub.server.history.subscribers)))
        device.report({"provisioning_state": "Later"})
        _until(lambda: stub.server._publisher.published > 0)  # type: ignore[union-attr]


def _until(condition: Any) -> None:
    until_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.02)
