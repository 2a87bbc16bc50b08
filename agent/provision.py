"""Provisioning: registering, exchanging keys, and the first word about the configuration.

``SUPERVISOR.md §3``.  Every step is stored before the next, so that a power cut at any point leaves
a device that goes on from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .context import Context
    from .events import RequestFailed, ResponseReceived

Step = Literal["register", "find", "find as fleet", "exchange", "first state", "report config"]
CREATED = 201
OK = 200
CONFLICT = 409
_OTHER_CLIENT = {"accept": "*/*", "accept-language": "*", "sec-fetch-mode": "cors"}
"""The real one tells its configuration through another HTTP client (recording d1)."""


def provisioned(ctx: Context) -> bool:
    """Whether the device is known to the cloud and has told its configuration."""
    disk = ctx.persisted
    return (
        disk.device_id is not None
        and disk.registered_at_ms is not None
        and disk.provisioning_key is None
        and disk.initial_env_reported
    )


class Provision:
    """Dropped once the device is provisioned."""

    __slots__ = ("failures", "next_ms", "pending", "step", "waiting")

    def __init__(self) -> None:
        self.step: Step = "register"
        self.waiting: int | None = None
        self.next_ms: int | None = None
        self.failures = 0
        self.pending: list[str] = []
        """Names of configuration values still to be told."""

    def start(self, ctx: Context) -> None:
        """Go on where the disk says."""
        disk = ctx.persisted
        if disk.uuid is None or disk.device_api_key is None:
            ctx.persist(
                uuid=disk.uuid or ctx.secret(), device_api_key=disk.device_api_key or ctx.secret()
            )
            disk = ctx.persisted
        if disk.registered_at_ms is None:
            self._register(ctx)
        elif disk.device_id is None or disk.provisioning_key is not None:
            self._find(ctx, "find", disk.device_api_key)
        else:
            self._first_state(ctx)

    def due(self, ctx: Context, *, now_ms: int) -> None:
        """The retry delay is over."""
        if self.next_ms is not None and self.next_ms <= now_ms:
            self.next_ms = None
            self.start(ctx)

    # --- requests --------------------------------------------------------------------------------

    def _register(self, ctx: Context) -> None:
        disk, config = ctx.persisted, ctx.config
        self.step = "register"
        self.waiting = ctx.send(
            "POST",
            "/device/register",
            {
                "application": disk.application_id,
                "uuid": disk.uuid,
                "device_type": config.device_type,
                "api_key": disk.device_api_key,
                "supervisor_version": config.supervisor_version,
                "os_version": config.os_version,
                "os_variant": config.os_variant,
                "mac_address": config.mac_address,
            },
            key=disk.provisioning_key,
            timeout_ms=config.register_timeout_ms,
        )

    def _find(self, ctx: Context, step: Step, key: str | None) -> None:
        self.step = step
        selector = quote(f"uuid eq '{ctx.persisted.uuid}'")
        self.waiting = ctx.send("GET", f"/v7/device?$select=id&$filter={selector}", key=key)

    def _exchange(self, ctx: Context, device_id: int) -> None:
        self.step = "exchange"
        ctx.persist(device_id=device_id)
        disk = ctx.persisted
        self.waiting = ctx.send(
            "POST",
            f"/api-key/device/{device_id}/device-key",
            {"apiKey": disk.device_api_key},
            key=disk.provisioning_key,
        )

    def _first_state(self, ctx: Context) -> None:
        if ctx.persisted.initial_env_reported:
            return
        self.step = "first state"
        disk = ctx.persisted
        self.waiting = ctx.send("GET", f"/device/v3/{disk.uuid}/state", key=disk.device_api_key)

    def _report_config(self, ctx: Context) -> None:
        if not self.pending:
            ctx.persist(initial_env_reported=True)
            return
        self.step = "report config"
        name = self.pending[0]
        self.waiting = ctx.send(
            "POST",
            "/v7/device_config_variable",
            {
                "value": ctx.config.initial_config[name],
                "device": ctx.persisted.device_id,
                "name": f"RESIN_{name}",
            },
            key=ctx.persisted.device_api_key,
            more_headers=_OTHER_CLIENT,
        )

    # --- answers ---------------------------------------------------------------------------------

    def failed(self, ctx: Context, event: RequestFailed, *, now_ms: int) -> None:
        """A request got no answer."""
        self.waiting = None
        if self.step == "find" and ctx.persisted.provisioning_key is not None:
            self._find(ctx, "find as fleet", ctx.persisted.provisioning_key)
        else:
            self._retry(ctx, event.reason, now_ms=now_ms)

    def _retry(self, ctx: Context, reason: str, *, now_ms: int) -> None:
        self.failures += 1
        if self.failures == 1:
            ctx.note(f"provisioning failed at {self.step}: {reason}")
        self.next_ms = now_ms + ctx.config.bootstrap_retry_ms

    def answered(
        self, ctx: Context, event: ResponseReceived, *, now_ms: int
    ) -> tuple[str, Mapping[str, Any]] | None:
        """Take the next step; ETag and part of the device of a first target state, if it came."""
        self.waiting = None
        match self.step:
            case "register":
                self._registered(ctx, event, now_ms=now_ms)
            case "find" | "find as fleet":
                self._found(ctx, event, now_ms=now_ms)
            case "exchange":
                self._exchanged(ctx, event, now_ms=now_ms)
            case "first state":
                return self._state(ctx, event, now_ms=now_ms)
            case "report config":
                if event.status in (OK, CREATED, CONFLICT):
                    self.pending.pop(0)
                    self._report_config(ctx)
                else:
                    self._retry(ctx, f"HTTP {event.status}", now_ms=now_ms)
        return None

    def _registered(self, ctx: Context, event: ResponseReceived, *, now_ms: int) -> None:
        body = event.body if isinstance(event.body, dict) else {}
        if event.status == CREATED and isinstance(body.get("id"), int):
            ctx.persist(device_id=body["id"], registered_at_ms=now_ms, provisioning_key=None)
            self._first_state(ctx)
        elif event.status == CONFLICT:
            self._find(ctx, "find", ctx.persisted.device_api_key)
        else:
            self._retry(ctx, f"HTTP {event.status}", now_ms=now_ms)

    def _found(self, ctx: Context, event: ResponseReceived, *, now_ms: int) -> None:
        device_id = _device_id(event)
        disk = ctx.persisted
        if device_id is not None and self.step == "find":
            self._known(ctx, device_id, now_ms=now_ms)
        elif device_id is not None:
            self._exchange(ctx, device_id)
        elif self.step == "find" and disk.provisioning_key is not None:
            self._find(ctx, "find as fleet", disk.provisioning_key)
        elif self.step == "find":
            # without a provisioning key nothing can be exchanged: the identity is kept
            self._retry(ctx, f"HTTP {event.status}", now_ms=now_ms)
        else:
            self._new_identity(ctx, f"HTTP {event.status}", now_ms=now_ms)

    def _exchanged(self, ctx: Context, event: ResponseReceived, *, now_ms: int) -> None:
        device_id = ctx.persisted.device_id
        if event.status == OK and device_id is not None:
            self._known(ctx, device_id, now_ms=now_ms)
        else:
            self._new_identity(ctx, f"HTTP {event.status}", now_ms=now_ms)

    def _known(self, ctx: Context, device_id: int, *, now_ms: int) -> None:
        registered = ctx.persisted.registered_at_ms
        ctx.persist(
            device_id=device_id,
            provisioning_key=None,
            registered_at_ms=now_ms if registered is None else registered,
        )
        self._first_state(ctx)

    def _new_identity(self, ctx: Context, reason: str, *, now_ms: int) -> None:
        """The keys could not be exchanged: the next try is another device's (§3)."""
        ctx.persist(
            uuid=ctx.secret(), device_api_key=ctx.secret(), device_id=None, registered_at_ms=None
        )
        self._retry(ctx, f"{reason}; trying as a new device", now_ms=now_ms)

    def _state(
        self, ctx: Context, event: ResponseReceived, *, now_ms: int
    ) -> tuple[str, Mapping[str, Any]] | None:
        body = event.body if isinstance(event.body, dict) else {}
        part = body.get(ctx.persisted.uuid)
        if event.status != OK or not isinstance(part, dict):
            self._retry(ctx, f"HTTP {event.status}", now_ms=now_ms)
            return None
        variables = part.get("config")
        told = variables if isinstance(variables, dict) else {}
        self.pending = [
            name for name in sorted(ctx.config.initial_config) if f"RESIN_{name}" not in told
        ]
        self._report_config(ctx)
        return event.headers.get("etag", ""), part


def _device_id(event: ResponseReceived) -> int | None:
    if event.status != OK or not isinstance(event.body, dict):
        return None
    rows = event.body.get("d")
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        return None
    number = rows[0].get("id")
    return number if isinstance(number, int) else None
