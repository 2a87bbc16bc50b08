"""What the cloud core knows, and how its parts look rows up, write them and are observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .calls import Calls
from .columns import Writer
from .heartbeat import HEARTBEAT, Tracker
from .messages import FieldChanged, KeyStored
from .model import Device, Fleet, Key
from .observe import observe
from .status import HeartbeatState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .messages import Effect, KnownFault
    from .settings import CloudSettings


CONTACT = "contact with the API"


class State:
    """All rows and queues; every change of a device goes through ``touch`` and a writer."""

    __slots__ = (
        "_added",
        "_before",
        "_writer",
        "calls",
        "devices",
        "effects",
        "faults",
        "fleets",
        "fleets_by_uuid",
        "gone",
        "instances",
        "keys",
        "numbers",
        "rows",
        "seal",
        "settings",
        "tracker",
    )

    def __init__(self, settings: CloudSettings, seal: Callable[[str], str] = str) -> None:
        self.settings = settings
        self.seal = seal
        """Makes of a key what is kept of it; the same for the same key."""
        self.devices: dict[str, Device] = {}
        """By uuid."""
        self.gone: dict[str, Mapping[str, Any]] = {}
        """How deleted devices looked in the end, by uuid."""
        self.rows: list[Device | None] = []
        """Every device ever, by id − 1; ``None`` where a restored cloud knows no more of it."""
        self.fleets: dict[str, Fleet] = {}
        """By name."""
        self.fleets_by_uuid: dict[str, Fleet] = {}
        self.keys: dict[str, Key | Device] = {}
        """By sealed key.  A device's own leads to its row at once: most keys are such keys."""
        self.faults: set[KnownFault] = set()
        """Faults of a real cloud that are switched on."""
        self.instances = 0
        """VPN service instances are numbered from 1 to this."""
        self.numbers = 0
        """Ids given to fleets, releases, services and images so far."""
        self.tracker = Tracker(settings)
        self.calls = Calls(settings)
        self.effects: list[Effect] = []
        self._writer = Writer()
        self._before: dict[str, tuple[Device, str, dict[str, Any]]] = {}
        self._added: list[Device] = []

    def next_number(self) -> int:
        """A new id."""
        self.numbers += 1
        return self.numbers

    def add_device(self, uuid: str, name: str, fleet: Fleet, device_type: str, key: str) -> Device:
        """Store a new device with its key."""
        device = Device(len(self.rows) + 1, uuid, name, fleet, device_type)
        self.rows.append(device)
        self.devices[uuid] = device
        self._added.append(device)
        self.add_device_key(device, key)
        return device

    def add_device_key(self, device: Device, key: str) -> None:
        """One more key for a device."""
        sealed = self.seal(key)
        self.keys[sealed] = device
        self.effects.append(KeyStored(sealed=sealed, uuid=device.uuid))

    def owner(self, key: str) -> Key | Device | None:
        """Whose key this is."""
        return self.keys.get(self.seal(key))

    def device_by_id(self, number: object) -> Device | None:
        """The device of an id, unless it is deleted."""
        if isinstance(number, int) and 0 < number <= len(self.rows):
            device = self.rows[number - 1]
            return None if device is None or device.deleted else device
        return None

    def devices_of(self, fleet: Fleet) -> list[Device]:
        """The fleet's devices, oldest first."""
        return [device for device in self.devices.values() if device.fleet is fleet]

    # --- changes ---------------------------------------------------------------------------------

    def touch(self, device: Device, cause: str) -> None:
        """Remember how the device looks, before its first change in this handling."""
        if device.uuid not in self._before:
            view = observe(device, self.settings.profile)
            self._before[device.uuid] = (device, cause, view)

    def write(self, device: Device, values: Mapping[str, Any], cause: str, *, now_ms: int) -> None:
        """Store columns of a device; see ``columns``."""
        self.touch(device, cause)
        self._writer.write(device, values, now_ms=now_ms)

    def contact(self, device: Device, *, now_ms: int) -> None:
        """The device itself spoke to the API with a key that is good for it.

        The first time makes it active (``STATUS.md §1``).  So does the next time after a person
        deactivated it: balena's billing page says that devices "will remain inactive until they
        come online".  VPN authentication is the VPN service's request, not the device's.
        """
        if not device.is_active:
            self.write(device, {"is_active": True}, CONTACT, now_ms=now_ms)

    def heartbeat(self, device: Device, *, now_ms: int) -> None:
        """A heartbeat of the device arrived."""
        if device.heartbeat is not HeartbeatState.ONLINE:
            self.touch(device, HEARTBEAT)
        self.tracker.beat(device, now_ms=now_ms)

    def forget_pending(self) -> None:
        """Nothing that was done so far is to be told to anybody: it was put back, not done."""
        self.calls = Calls(self.settings)
        self._before.clear()
        self._added.clear()
        self.effects.clear()

    def take_rows(self) -> tuple[Device, ...]:
        """The devices this handling touched; to be asked for before ``take_effects``."""
        if not self._before and not self._added:
            return ()
        touched = [device for device, _, _ in self._before.values()]
        touched += [device for device in self._added if device.uuid not in self._before]
        self._added.clear()
        return tuple(touched)

    def take_effects(self) -> tuple[Effect, ...]:
        """What this handling gave: first what changed for people, then what is to be done."""
        if not self._before and not self.effects:
            return ()
        changes: list[Effect] = []
        for device, cause, before in self._before.values():
            after = observe(device, self.settings.profile)
            if before == after:
                continue
            uuid = device.uuid
            for field in before if before.keys() == after.keys() else before | after:
                old, new = before.get(field), after.get(field)
                if old != new:
                    changes.append(
                        FieldChanged(uuid=uuid, field=field, old=old, new=new, cause=cause)
                    )
        self._before.clear()
        changes.extend(self.effects)
        self.effects.clear()
        return tuple(changes)
