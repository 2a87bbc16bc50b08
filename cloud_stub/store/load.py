"""Building the core anew from the store: people's commands, then the devices as they were."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import messages as core
from . import device_rows
from .own_tables import EVENTS, GONE, LOGS
from .release_rows import release_command
from .resources import TABLES

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..core import Cloud

Row = dict[str, Any]


class Loader:
    """Reads one store into one core."""

    def __init__(self, connection: AsyncConnection, cloud: Cloud, *, now_ms: int) -> None:
        self._connection = connection
        self._cloud = cloud
        self._now_ms = now_ms

    async def load(self) -> tuple[dict[str, int], dict[int, int]]:
        """Everything.

        Returns:
            The largest ``actor``, ``event`` and ``log`` in use, and the actor of each device.
        """
        fleets = await self._fleets()
        await self._devices(fleets)
        await self._variables(fleets)
        await self._keys(fleets)
        self._cloud.rearm(now_ms=self._now_ms)
        actors = [await self._largest(TABLES[name].c.actor) for name in _ACTORS]
        counters = {
            "actor": max(actors),
            "event": await self._largest(EVENTS.c.id),
            "log": await self._largest(LOGS.c.id),
        }
        return counters, {row["id"]: row["actor"] for row in await self._rows("device")}

    def _tell(self, command: core.Command) -> None:
        outcome = self._cloud.handle(command, now_ms=self._now_ms)
        assert outcome.response is not None, command
        assert outcome.response.status < 400, (command, outcome.response)

    async def _rows(self, name: str) -> list[Row]:
        table = TABLES[name]
        found = await self._connection.execute(sa.select(table).order_by(table.c.id))
        return [dict(row) for row in found.mappings()]

    async def _largest(self, column: Any) -> int:
        return int(await self._connection.scalar(sa.select(sa.func.max(column))) or 0)

    async def _fleets(self) -> dict[int, Row]:
        slugs = {row["id"]: row["slug"] for row in await self._rows("device_type")}
        fleets = {row["id"]: row for row in await self._rows("application")}
        releases = await self._rows("release")
        for fleet in fleets.values():
            self._tell(
                core.CreateFleet(
                    name=fleet["app_name"],
                    uuid=fleet["uuid"],
                    device_type=slugs[fleet["is_for__device_type"]],
                    number=fleet["id"],
                )
            )
        commits = {}
        for release in releases:
            if release["status"] == "success":
                fleet = fleets[release["belongs_to__application"]]
                self._tell(await release_command(self._connection, release, fleet))
                commits[release["id"]] = release["commit"]
        for fleet in fleets.values():
            commit = commits.get(fleet["should_be_running__release"])
            if commit is not None:
                self._tell(core.TrackRelease(fleet=fleet["uuid"], commit=commit))
        return fleets

    async def _devices(self, fleets: dict[int, Row]) -> None:
        slugs = {row["id"]: row["slug"] for row in await self._rows("device_type")}
        installs: dict[int, list[Row]] = defaultdict(list)
        for row in await self._rows("image_install"):
            installs[row["device"]].append(device_rows.core_install(row))
        devices = await self._rows("device")
        self._cloud.restore_devices(
            (device_rows.core_row(row, slugs), installs[row["id"]])
            for row in devices
            if row["belongs_to__application"] in fleets
        )
        largest = max((row["id"] for row in devices), default=0)
        gone = (await self._connection.execute(sa.select(GONE))).mappings().all()
        self._cloud.restore_rest(
            gone=[row["uuid"] for row in gone],
            instances=await self._largest(TABLES["service_instance"].c.id),
            rows=max([largest, *(row["device"] for row in gone)]),
        )

    async def _variables(self, fleets: dict[int, Row]) -> None:
        devices = {row["id"]: row["uuid"] for row in await self._rows("device")}
        services = {row["id"]: row for row in await self._rows("service")}
        installs = {row["id"]: row for row in await self._rows("service_install")}
        for row in await self._rows("application_config_variable"):
            self._config("fleet", fleets[row["application"]]["uuid"], row)
        for row in await self._rows("device_config_variable"):
            self._config("device", devices[row["device"]], row)
        for row in await self._rows("application_environment_variable"):
            self._environment("fleet", fleets[row["application"]]["uuid"], None, row)
        for row in await self._rows("device_environment_variable"):
            self._environment("device", devices[row["device"]], None, row)
        for row in await self._rows("service_environment_variable"):
            service = services[row["service"]]
            fleet = fleets[service["application"]]
            self._environment("fleet", fleet["uuid"], service["service_name"], row)
        for row in await self._rows("device_service_environment_variable"):
            install = installs[row["service_install"]]
            name = services[install["installs__service"]]["service_name"]
            self._environment("device", devices[install["device"]], name, row)

    def _config(self, level: Any, target: str, row: Row) -> None:
        self._tell(
            core.SetVariable(level=level, target=target, name=row["name"], value=row["value"])
        )

    def _environment(self, level: Any, target: str, service: str | None, row: Row) -> None:
        self._tell(
            core.SetEnvironment(
                level=level, target=target, service=service, name=row["name"], value=row["value"]
            )
        )

    async def _keys(self, fleets: dict[int, Row]) -> None:
        devices = {row["id"]: row["uuid"] for row in await self._rows("device")}
        for row in await self._rows("api_key"):
            if row["kind"] == "user":
                continue  # people are the server's to know
            owner = None
            if row["kind"] == "device":
                owner = devices.get(row["device"])
            elif row["kind"] == "provisioning":
                owner = fleets.get(row["application"], {}).get("uuid")
            self._cloud.restore_key(
                row["key"], row["kind"], owner, expires_at_ms=row["expiry_date"]
            )


_ACTORS = ("user", "application", "device")
