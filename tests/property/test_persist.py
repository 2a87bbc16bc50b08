"""What a store keeps of the core's devices is enough to put them back."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_stub import persist
from cloud_stub.core import Cloud
from cloud_stub.messages import CreateFleet, SetVariable
from cloud_stub.settings import CloudSettings
from tests.cloud_desk import FLEET, FLEET_UUID, Desk, release
from tests.property.test_cloud import EVENTS, GAPS, carry_out

PROFILE = "balena-cloud"
HISTORY = st.lists(st.tuples(GAPS, EVENTS), max_size=25)


def _fresh() -> Cloud:
    """A cloud with the same fleets and releases, and no devices."""
    cloud = Cloud(CloudSettings())
    for command in (
        CreateFleet(name=FLEET, uuid=FLEET_UUID),
        release("r1"),
        release("r2", track=False),
        CreateFleet(name="second", uuid="2" * 32),
    ):
        cloud.handle(command, now_ms=0)
    return cloud


@settings(max_examples=150)
@given(HISTORY)
def test_a_restored_device_shows_what_it_showed(
    history: list[tuple[int, tuple[Any, ...]]],
) -> None:
    desk = Desk()
    desk.tell(release("r2", track=False))
    desk.tell(CreateFleet(name="second", uuid="2" * 32))
    now_ms = 0
    for gap, event in history:
        now_ms += gap
        carry_out(desk, event, now_ms)
    old, new = desk.cloud, _fresh()
    tracked = old.fleet_of(FLEET_UUID)
    again = new.fleet_of(FLEET_UUID)
    assert tracked is not None
    assert again is not None
    again.tracks = None if tracked.tracks is None else again.releases[tracked.tracks.commit]
    kept = [
        (
            dict(zip(persist.COLUMNS, persist.stored(device, PROFILE), strict=True)),
            [
                dict(zip(persist.INSTALL, row, strict=True))
                for row in persist.stored_installs(device)
            ],
        )
        for device in old.devices.values()
    ]
    new.restore_devices(kept)
    # variables have tables of their own; the server gives them back as commands
    for device in old.devices.values():
        for name, value in device.variables.items():
            new.handle(
                SetVariable(level="device", target=device.uuid, name=name, value=value), now_ms=0
            )
        for name, value in device.fleet.variables.items():
            new.handle(
                SetVariable(level="fleet", target=device.fleet.uuid, name=name, value=value),
                now_ms=0,
            )
    new.rearm(now_ms=now_ms)
    assert new.devices.keys() == old.devices.keys()
    for uuid, device in old.devices.items():
        same = new.devices[uuid]
        assert persist.stored(same, PROFILE) == persist.stored(device, PROFILE)
        assert persist.stored_installs(same) == persist.stored_installs(device)
        assert new.view(uuid, now_ms=now_ms) == old.view(uuid, now_ms=now_ms)
        # a timer runs for exactly the devices that had one, and not shorter than it did
        assert (same.heartbeat_due_ms >= 0) == (device.heartbeat_due_ms >= 0)
        assert same.heartbeat_due_ms >= device.heartbeat_due_ms or device.heartbeat_due_ms > now_ms
