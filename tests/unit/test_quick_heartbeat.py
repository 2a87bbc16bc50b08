"""The steady poll's shortcut: when it may be taken, what it costs, and what a steady row weighs."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from cloud_stub.core import Cloud
from cloud_stub.messages import (
    AddKey,
    CreateFleet,
    DeleteDevice,
    Preregister,
    Request,
    SetActive,
    SetFrozen,
    SetVariable,
    WriteDevice,
)
from cloud_stub.settings import CloudSettings
from cloud_stub.variables import POLL_INTERVAL
from tests.cloud_desk import FLEET, FLEET_UUID, USER, UUID, VPN, Desk, image, release


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.poll(0)
    return desk


def test_a_steady_poll_moves_the_timer_and_nothing_else(desk: Desk) -> None:
    etag = desk.poll(1_000).headers["etag"]
    assert desk.cloud.quick_heartbeat(desk.device, etag, now_ms=60_000)
    assert desk.device.heartbeat_due_ms == 960_000
    assert desk.see("changed_api_heartbeat_state_on__date") == 0


def test_an_etag_that_is_not_current_takes_the_long_way(desk: Desk) -> None:
    row = desk.device
    for etag in (None, 'W/"other"'):
        assert not desk.cloud.quick_heartbeat(row, etag, now_ms=60_000)
    assert row.heartbeat_due_ms == 900_000


@pytest.mark.parametrize(
    "command",
    [
        SetFrozen(uuid=UUID, frozen=True),
        SetActive(uuid=UUID, active=False),
        DeleteDevice(uuid=UUID),
        SetVariable(level="device", target=UUID, name="RESIN_X", value="1"),
        SetVariable(level="fleet", target=FLEET, name="RESIN_X", value="1"),
        WriteDevice(uuid=UUID, fields={"api_heartbeat_state": "timeout"}),
        AddKey(key="short", kind="device", owner=UUID, expires_at_ms=10),
        release("r2"),
    ],
)
def test_whatever_could_make_the_answer_another_one_takes_the_long_way(
    desk: Desk, command: object
) -> None:
    etag, row = desk.poll(0).headers["etag"], desk.device
    desk.tell(command, 1_000)  # type: ignore[arg-type]  # every one of them is a command
    assert not desk.cloud.quick_heartbeat(row, etag, now_ms=60_000)
    assert row.heartbeat_due_ms in (900_000, -1)


@pytest.mark.parametrize("late", [0, 1, 20_000])
def test_a_poll_at_or_after_the_end_of_the_window_takes_the_long_way(desk: Desk, late: int) -> None:
    etag = desk.poll(0).headers["etag"]
    assert not desk.cloud.quick_heartbeat(desk.device, etag, now_ms=900_000 + late)


def test_a_window_that_is_yet_to_be_resolved_takes_the_long_way(desk: Desk) -> None:
    command = SetVariable(level="fleet", target=FLEET, name=POLL_INTERVAL, value="1200000")
    desk.tell(command, 1_000)
    etag = desk.poll(2_000, key=USER).headers["etag"]
    assert not desk.cloud.quick_heartbeat(desk.device, etag, now_ms=60_000)
    desk.poll(60_000)
    assert desk.cloud.quick_heartbeat(desk.device, etag, now_ms=120_000)
    assert desk.device.heartbeat_due_ms == 120_000 + 1_800_000


STEADY_BYTES_MAX = 1_300
FLEET_SIZE = 1_000


def steady_cloud(size: int) -> Cloud:
    """Devices that polled, reported a running service and all metrics, and hold a tunnel."""
    cloud = Cloud(CloudSettings())
    for command in (
        CreateFleet(name=FLEET, uuid=FLEET_UUID),
        release("r1"),
        AddKey(key=VPN, kind="vpn", owner="vpn"),
    ):
        cloud.handle(command, now_ms=0)
    vpn = {"authorization": f"Bearer {VPN}"}
    instance = Request(id=0, method="POST", path="/v7/service_instance", headers=vpn)
    cloud.handle(instance, now_ms=0)
    for number in range(size):
        _add_steady(cloud, number, vpn)
    return cloud


def _add_steady(cloud: Cloud, number: int, vpn: dict[str, str]) -> None:
    uuid, key, now_ms = f"{number:032x}", f"{number:032x}k", 1_000_000 + number
    cloud.handle(
        Preregister(uuid=uuid, name=f"device-{number}", fleet=FLEET, api_key=key), now_ms=now_ms
    )
    headers = {"authorization": f"Bearer {key}"}
    service = {"image": image("r1", "main"), "status": "Running"}
    part = {"update_status": "done", "services": {"main": service}}
    report = {
        "status": "Idle",
        "os_version": "balenaOS 6.1.0",
        "os_variant": "prod",
        "supervisor_version": "19.0.5",
        "api_port": 48484,
        "ip_address": f"10.0.{number // 256}.{number % 256}",
        "mac_address": f"AA:BB:CC:DD:{number // 256:02X}:{number % 256:02X}",
        "api_secret": f"{number:032x}",
        "is_undervolted": False,
        "provisioning_state": "",
        "provisioning_progress": None,
        "cpu_usage": 12,
        "cpu_temp": 45,
        "memory_usage": 300,
        "memory_total": 1_000,
        "storage_usage": 900,
        "storage_total": 29_000,
        "apps": {FLEET_UUID: {"release_uuid": "r1", "releases": {"r1": part}}},
    }
    connect = {"uuids": [uuid], "serviceId": 1}
    for method, path, given, body in (
        ("GET", f"/device/v3/{uuid}/state", headers, None),
        ("PATCH", "/device/v3/state", headers, {uuid: report}),
        ("POST", "/services/vpn/client-connect", vpn, connect),
    ):
        request = Request(id=number, method=method, path=path, headers=given, body=body)
        response = cloud.handle(request, now_ms=now_ms).response
        assert response is not None
        assert response.status == 200


def test_a_steady_device_costs_the_cloud_little_memory() -> None:
    steady_cloud(10)
    gc.collect()
    tracemalloc.start()
    try:
        small = steady_cloud(0)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        large = steady_cloud(FLEET_SIZE)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not small.devices
    assert len(large.devices) == FLEET_SIZE
    assert (after - before) / FLEET_SIZE <= STEADY_BYTES_MAX
