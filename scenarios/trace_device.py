"""The one device of a trace: a cloud as the recorder set it up, and the trace's actions on it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from cloud_stub.columns import COLUMNS, read
from cloud_stub.core import Cloud
from cloud_stub.messages import (
    AddKey,
    Command,
    CreateFleet,
    CreateRelease,
    DeleteDevice,
    FieldChanged,
    Preregister,
    Request,
    Response,
    ServiceSpec,
    SetVariable,
    TimerFired,
    WriteDevice,
)
from cloud_stub.variables import POLL_INTERVAL, VPN_CONTROL

from .streams import digest
from .trace_compare import Difference, Point
from .traces import DATES, FIELDS, FLEETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .traces import Trace, TraceStep

EPOCH_MS = 1_000_000
"""The trace's start in the core's time: what was set up is long past."""
RELEASES = 3
SERVICES = ("main", "side")
INSTANCES = 2
_VARIABLES = {"vpnoff": (VPN_CONTROL[0], "false"), "poll": (POLL_INTERVAL, "5000")}
_OTHER = "other"
_PLACEHOLDER = re.compile(r"\$(?:UUID|APP|OTHERAPP|REL\d|IMG\d\d|LOC\d\d)")
_UUID = digest("trace", "device")
_KEYS = {
    kind: digest("trace", "key", kind)
    for kind in ("device", "user", "provisioning", "vpn", "bogus")
}
_COLUMN_OF = {"managed_by": "is_managed_by__service_instance"}
_CONTENT = frozenset({"environment", "labels", "composition"})
"""Always there; what is in them depends on the recorder's releases."""
_PERHAPS = frozenset({"volumes", "networks"})
"""There if the recorder's releases declare some."""
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{62}")


def _location(release: int, service: int) -> str:
    return f"registry.invalid/v2/{digest('trace', 'location', release, service)}"


def _image(release: int, service: int) -> str:
    content = digest("trace", "content", release, service, size=32)
    return f"{_location(release, service)}@sha256:{content}"


def _commit(release: int) -> str:
    return digest("trace", "commit", release)


def _fleet_uuid(name: str) -> str:
    return digest("trace", "fleet", name)


class TraceDevice:
    """Carries out a trace's actions and keeps the course of every field."""

    def __init__(self, trace: Trace) -> None:
        self.cloud = Cloud(trace.settings)
        self._fleet = trace.fleet
        self._etag: str | None = None
        self._requests = 0
        self._courses: dict[str, list[Point]] = {}
        self._names = self._placeholders()
        self._set_up()
        view = self.cloud.view(_UUID, now_ms=EPOCH_MS)
        start_ms = min(0, trace.samples[0].at_ms)
        for field in (*FIELDS, "deleted"):
            value = view[_COLUMN_OF.get(field, field)]
            self._courses[field] = [Point(start_ms, _relative(field, value))]
        self._actions: dict[str, Callable[[TraceStep, int], list[Difference]]] = {
            "heartbeat": self._heartbeat,
            "vpn_up": self._vpn,
            "vpn_down": self._vpn,
            "patch": self._patch,
            "patch_v2": self._patch_v2,
            "config": self._config,
            "odata_patch": self._odata_patch,
            "read": self._read,
            "installs": self._installs,
            "delete_device": self._delete,
            "register_again": self._register_again,
        }

    def _placeholders(self) -> dict[str, str]:
        names = {"$UUID": _UUID, "$APP": _fleet_uuid(self._fleet)}
        names["$OTHERAPP"] = _fleet_uuid(_OTHER)
        for release in range(RELEASES):
            names[f"$REL{release}"] = _commit(release)
            for service in range(len(SERVICES)):
                names[f"$IMG{release}{service}"] = _image(release, service)
                names[f"$LOC{release}{service}"] = _location(release, service)
        return names

    def _set_up(self) -> None:
        for name in (*FLEETS, _OTHER):
            self._command(CreateFleet(name=name, uuid=_fleet_uuid(name)))
        for name in FLEETS:
            for release in range(RELEASES):
                services = tuple(
                    ServiceSpec(name=service, image=_image(release, number))
                    for number, service in enumerate(SERVICES)
                )
                commit = _commit(release)
                self._command(CreateRelease(fleet=name, commit=commit, services=services))
        for name, (variable, value) in _VARIABLES.items():
            self._command(SetVariable(level="fleet", target=name, name=variable, value=value))
        for kind in ("user", "vpn"):
            self._command(AddKey(key=_KEYS[kind], kind=kind, owner="recorder"))
        self._command(AddKey(key=_KEYS["provisioning"], kind="provisioning", owner=self._fleet))
        for _ in range(INSTANCES):
            self._ask("POST", "/v7/service_instance", "vpn", None, now_ms=-1)
        self._command(
            Preregister(uuid=_UUID, name="recorded", fleet=self._fleet, api_key=_KEYS["device"])
        )

    # --- what the replay asks --------------------------------------------------------------------

    @property
    def heartbeat_due_ms(self) -> int | None:
        """When the heartbeat's timer ends, in the trace's time."""
        row = self.cloud.devices.get(_UUID)
        return None if row is None or row.heartbeat_due_ms < 0 else row.heartbeat_due_ms - EPOCH_MS

    @property
    def heartbeat_state(self) -> str:
        """As the core has it now."""
        return self.cloud.devices[_UUID].heartbeat.value

    def fire_timers(self, *, now_ms: int) -> None:
        """Let the core consume its timers."""
        self._take(self.cloud.handle(TimerFired(), now_ms=EPOCH_MS + now_ms).effects, now_ms)

    def course(self, field: str) -> list[Point]:
        """Every value a field had, from the start."""
        return self._courses[field]

    def carry_out(self, step: TraceStep, *, now_ms: int) -> list[Difference]:
        """Do a step's action; what its answer and the recorded one differ in."""
        action = self._actions.get(step.action)
        return [] if action is None else action(step, now_ms)

    # --- the core --------------------------------------------------------------------------------

    def _command(self, command: Command, *, now_ms: int = -1) -> Response:
        outcome = self.cloud.handle(command, now_ms=EPOCH_MS + now_ms)
        self._take(outcome.effects, now_ms)
        assert outcome.response is not None
        return outcome.response

    def _ask(
        self, method: str, path: str, caller: str, body: Any, *, now_ms: int, **headers: str
    ) -> Response:
        self._requests += 1
        query = {}
        if caller.startswith("?"):
            query["apikey"] = _KEYS[caller[1:]]
        elif caller != "none":
            headers["authorization"] = f"Bearer {_KEYS[caller]}"
        request = Request(
            id=self._requests, method=method, path=path, query=query, headers=headers, body=body
        )
        outcome = self.cloud.handle(request, now_ms=EPOCH_MS + now_ms)
        self._take(outcome.effects, now_ms)
        assert outcome.response is not None
        return outcome.response

    def _take(self, effects: tuple[Any, ...], now_ms: int) -> None:
        fields = {_COLUMN_OF.get(field, field): field for field in self._courses}
        for effect in effects:
            if isinstance(effect, FieldChanged) and effect.field in fields:
                field = fields[effect.field]
                self._courses[field].append(Point(now_ms, _relative(field, effect.new)))

    def _filled(self, value: Any) -> Any:
        """The same with the ids of this run for the placeholders."""
        if isinstance(value, str):
            return _PLACEHOLDER.sub(lambda found: self._names.get(found[0], found[0]), value)
        if isinstance(value, dict):
            return {self._filled(name): self._filled(item) for name, item in value.items()}
        return [self._filled(item) for item in value] if isinstance(value, list) else value

    # --- actions ---------------------------------------------------------------------------------

    def _heartbeat(self, step: TraceStep, now_ms: int) -> list[Difference]:
        args = step.args
        version = str(args.get("v", "v3"))
        version = version if version.startswith("v") else f"v{version}"
        headers = {}
        if args.get("if_none_match") and self._etag is not None:
            headers["if-none-match"] = self._etag
        caller = str(args.get("as", "device"))
        if args.get("apikey_query"):
            caller = f"?{caller}"
        method = str(args.get("method", "GET"))
        path = f"/device/{version}/{_UUID}/state"
        response = self._ask(method, path, caller, None, now_ms=now_ms, **headers)
        etag = response.headers.get("etag")
        self._etag = etag or self._etag
        found = _answers(step, response, body=False)
        if "etag" in step.result and step.result["etag"] != (etag is not None):
            found.append(_answer(step, "etag", step.result["etag"], etag is not None))
        if "config" in step.result:
            body = response.body or {}
            part = body.get(_UUID) or body.get("local") or {}
            config = part.get("config")
            if config != step.result["config"]:
                found.append(_answer(step, "config", step.result["config"], config))
        if "body" in step.result:
            recorded, given = _shape(step.result["body"]), _shape(response.body)
            if recorded != given:
                found.append(_answer(step, "body", recorded, given))
        return found

    def _vpn(self, step: TraceStep, now_ms: int) -> list[Difference]:
        word = "connect" if step.action == "vpn_up" else "disconnect"
        body = {"uuids": [_UUID], "serviceId": step.args.get("service", 1)}
        path = f"/services/vpn/client-{word}"
        return _answers(step, self._ask("POST", path, "vpn", body, now_ms=now_ms))

    def _patch(self, step: TraceStep, now_ms: int) -> list[Difference]:
        body = self._filled(step.args["body"])
        whole = body if step.args.get("raw") else {_UUID: body}
        caller = str(step.args.get("as", "device"))
        return _answers(step, self._ask("PATCH", "/device/v3/state", caller, whole, now_ms=now_ms))

    def _patch_v2(self, step: TraceStep, now_ms: int) -> list[Difference]:
        body = {"local": self._filled(step.args["body"])}
        caller = str(step.args.get("as", "device"))
        path = f"/device/v2/{_UUID}/state"
        return _answers(step, self._ask("PATCH", path, caller, body, now_ms=now_ms))

    def _config(self, step: TraceStep, now_ms: int) -> list[Difference]:
        by_device = step.args["level"] == "device"
        command = SetVariable(
            level="device" if by_device else "fleet",
            target=_UUID if by_device else self._fleet,
            name=step.args["name"],
            value=step.args["value"],
        )
        # the recorded body has dates and ids of its own
        return _answers(step, self._command(command, now_ms=now_ms), body=False)

    def _odata_patch(self, step: TraceStep, now_ms: int) -> list[Difference]:
        command = WriteDevice(uuid=_UUID, fields=self._filled(step.args["body"]))
        return _answers(step, self._command(command, now_ms=now_ms))

    def _delete(self, step: TraceStep, now_ms: int) -> list[Difference]:
        return _answers(step, self._command(DeleteDevice(uuid=_UUID), now_ms=now_ms))

    def _register_again(self, step: TraceStep, now_ms: int) -> list[Difference]:
        body = {
            "application": self.cloud.fleet_id(self._fleet),
            "device_type": "raspberrypi3",
            "uuid": _UUID,
            "api_key": step.args.get("key", _KEYS["device"]),
        }
        return _answers(
            step, self._ask("POST", "/device/register", "provisioning", body, now_ms=now_ms)
        )

    def _read(self, step: TraceStep, now_ms: int) -> list[Difference]:
        row = self.cloud.devices.get(_UUID)
        view = self.cloud.view(_UUID, now_ms=EPOCH_MS + now_ms)
        names = [name.strip() for name in step.args["select"].split(",")]
        given = [
            {
                name: read(row, name) if name in COLUMNS and name not in view else view.get(name)
                for name in names
            }
            for row in ([] if row is None else [row])
        ]
        return _answers(step, Response(status=200, body=given))

    def _installs(self, step: TraceStep, now_ms: int) -> list[Difference]:  # noqa: ARG002
        row = self.cloud.devices.get(_UUID)
        given = [
            {
                "status": install.status,
                "download_progress": install.download_progress,
                "image": f"{install.image.location}@{install.image.digest}",
                "release": install.release.commit,
            }
            for install in (() if row is None else row.installs)
        ]
        recorded = self._filled(step.result.get("body"))
        found = _answers(step, Response(status=200), body=False)
        if recorded is not None and recorded != given:
            found.append(_answer(step, "body", recorded, given))
        return found


def _relative(field: str, value: Any) -> Any:
    return value - EPOCH_MS if field in DATES and value is not None else value


def _answer(step: TraceStep, part: str, recorded: Any, given: Any) -> Difference:
    at_s = step.at_ms / 1e3
    name = f"{step.name} {part}"
    return Difference(kind="answer", at_s=at_s, field=name, recorded=recorded, given=given)


def _answers(step: TraceStep, response: Response, *, body: bool = True) -> list[Difference]:
    """Status and body against the recorded ones, where they are recorded."""
    found = []
    recorded: Mapping[str, Any] = step.result
    if "status" in recorded and recorded["status"] != response.status:
        found.append(_answer(step, "status", recorded["status"], response.status))
    if body and "body" in recorded:
        given = _parsed(response)
        if (recorded["body"] or None) != (given or None):
            found.append(_answer(step, "body", recorded["body"], given))
    return found


def _parsed(response: Response) -> Any:
    """The body as a client sees it; a JSON string is kept serialised by the core."""
    json_text = response.headers.get("content-type", "").startswith("application/json")
    if isinstance(response.body, str) and json_text:
        return json.loads(response.body)
    return response.body if not hasattr(response.body, "items") else dict(response.body)


def _shape(value: Any) -> Any:
    """A body without what belongs to one run: ids, names, texts, and what releases hold."""
    if isinstance(value, dict):
        return {
            "*" if _ID.fullmatch(name) else name: "…" if name in _CONTENT else _shape(item)
            for name, item in value.items()
            if name not in _PERHAPS
        }
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return None if value in (None, "") else type(value).__name__
