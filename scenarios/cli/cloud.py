"""``fieldbeat cloud``: the stub as a server."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..clock import Clock
from ..errors import InputError, LabError
from . import service

if TYPE_CHECKING:
    from cloud_stub.server.app import Server
    from cloud_stub.server.settings import ServerSettings

VPN_PORT = 8443
EXTRAS = "pip install 'fieldbeat[cloud]'"


@click.command(name="cloud")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT")
@click.option(
    "--db",
    default="fieldbeat.sqlite",
    show_default=True,
    metavar="URL",
    help="A file, sqlite+aiosqlite:///file, or postgresql+asyncpg://user@host/name.",
)
@click.option(
    "--profile",
    type=click.Choice(["balena-cloud", "open-balena"]),
    default="balena-cloud",
    show_default=True,
    help="Whose status rules and fields.",
)
@click.option(
    "--tls",
    metavar="CERT,KEY|dev",
    help="Certificate chain and key; or dev: made by a development CA beside the database.",
)
@click.option(
    "--registry",
    metavar="HOST[:PORT]",
    help="Where devices find images.  [default: the address of --listen]",
)
@click.option(
    "--vpn",
    multiple=True,
    metavar="[NAME=]HOST:PORT",
    help="A VPN service instance, TCP and UDP; again for more; off for none.  [default: port 8443]",
)
@click.option(
    "--vpn-spare",
    multiple=True,
    metavar="NAME=HOST:PORT",
    help="Another one, that runs when PUT /fieldbeat/v1/vpn/NAME says so.",
)
@click.option(
    "--tunnel",
    type=click.Choice(["inprocess", "userspace", "kernel"]),
    default="inprocess",
    show_default=True,
    help="What the VPN service's WireGuard is made of; the last two need root.",
)
@click.option("--mqtt", metavar="URL", help="Publish status changes: mqtt://host[:port].")
@click.option(
    "--reach-devices",
    is_flag=True,
    help="Call supervisor APIs at the addresses that devices report.",
)
@click.option(
    "--retention", default=30.0, show_default=True, metavar="DAYS", help="Of the history."
)
@click.option(
    "--lag",
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(0.01, 60),
    help="How far heartbeat timers in the store may be behind.",
)
@click.option(
    "--rate-limit",
    default=0,
    metavar="N",
    type=click.IntRange(0),
    help="Requests a second of one key before 429.  [default: no limit]",
)
@click.option(
    "--traffic",
    metavar="FILE",
    help="Append a line of JSON for each request, heartbeat and count of bytes.",
)
@service.SPEED
@click.option("--log", type=click.Choice(["text", "json"]), default="text", show_default=True)
def cloud(
    listen: str,
    db: str,
    profile: Literal["balena-cloud", "open-balena"],
    tls: str | None,
    registry: str | None,
    vpn: tuple[str, ...],
    vpn_spare: tuple[str, ...],
    tunnel: str,
    mqtt: str | None,
    reach_devices: bool,
    retention: float,
    lag: float,
    rate_limit: int,
    traffic: str | None,
    speed: float,
    log: Literal["text", "json"],
) -> None:
    """Serve balena's API to devices, client libraries and dashboards.

    The first start prints the administrator's credentials, unless FIELDBEAT_ADMIN_EMAIL,
    FIELDBEAT_ADMIN_PASSWORD and FIELDBEAT_VPN_SERVICE_KEY give them.  Timings are set by the real
    API's variables, such as DEFAULT_SUPERVISOR_POLL_INTERVAL (ms).
    """
    try:
        from cloud_stub.server.settings import (
            ServerSettings,
            SettingsError,
            cloud_settings,
            vpn_timings,
        )
        from cloud_stub.store.database import StoreError
    except ImportError as error:
        raise LabError(f"the server needs more packages ({error.name}): {EXTRAS}") from error
    host, port = _address(listen)
    environment = os.environ
    try:
        settings = ServerSettings(
            host=host,
            port=port,
            db=db,
            cloud=cloud_settings(environment, profile),
            admin_email=environment.get("FIELDBEAT_ADMIN_EMAIL"),
            admin_password=environment.get("FIELDBEAT_ADMIN_PASSWORD"),
            vpn_service_key=environment.get("FIELDBEAT_VPN_SERVICE_KEY"),
            certificate=_certificate(tls, host, db),
            vpn=_instances(vpn or (f"{host}:{VPN_PORT}",)),
            vpn_spares=_instances(vpn_spare, "--vpn-spare"),
            vpn_timings=vpn_timings(environment),
            tunnel=tunnel,
            mqtt=mqtt,
            registry=registry,
            reach=reach_devices,
            retention_s=retention * 86_400,
            lag_s=lag,
            requests_per_s=rate_limit,
            traffic=traffic,
        )
        service.set_up_logs(as_json=log == "json")
        clock = Clock.begin(speed)
        service.run(_serve(settings, None if speed == 1 else clock), clock)
    except (StoreError, SettingsError) as error:
        raise InputError(str(error)) from error
    except OSError as error:
        listens = ", ".join((listen, *(vpn or (f"port {VPN_PORT}",))))
        raise LabError(f"cannot listen on {listens}: {error.strerror or error}") from error


async def _serve(settings: ServerSettings, clock: Clock | None) -> None:
    from cloud_stub.server.run import again, alone

    async with service.Service() as running:
        tell = clock.now_s if clock else time.time
        server = await alone(settings, tell)
        try:
            if server.first_words:
                click.echo("Made for this store, shown only now:")
                for line in server.first_words:
                    click.echo(f"  {line}")
            click.echo(f"fieldbeat cloud listens on {server.address}")
            for name, instance in server.vpn.running.items():
                click.echo(f"cloudlink {name} listens on port {instance.port}")
            running.ready(f"listening on {server.address}")
            while await _restarts(server, running.stop):
                server = await again(server, settings, tell)
        finally:
            await server.close()


async def _restarts(server: Server, stop: asyncio.Event) -> bool:
    """Whether a person wants the API to restart; else it is over."""
    waits = [asyncio.ensure_future(event.wait()) for event in (server.restarting, stop)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for waiting in waits:
        waiting.cancel()
    return not stop.is_set()


def _instances(vpn: tuple[str, ...], flag: str = "--vpn") -> tuple[tuple[str, str, int], ...]:
    """Name, host and port of each VPN service instance."""
    if vpn == ("off",):
        return ()
    found = []
    for number, text in enumerate(vpn):
        name, equals, place = text.rpartition("=")
        if flag != "--vpn" and not equals:
            raise InputError(f"{flag} must be NAME=HOST:PORT, not {text!r}")
        where, port = _address(place, flag)
        found.append((name if equals else f"vpn-{number + 1}", where, port))
    return tuple(found)


def _address(listen: str, flag: str = "--listen") -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise InputError(f"{flag} must be HOST:PORT, not {listen!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


def _certificate(tls: str | None, host: str, db: str) -> tuple[str, str] | None:
    if tls is None:
        return None
    if tls != "dev":
        certificate, comma, key = tls.partition(",")
        if not comma:
            raise InputError("--tls must be CERT,KEY or dev")
        return certificate, key
    from cloud_stub.server.tls import development_authority

    folder = (Path.cwd() if "://" in db else Path(db).resolve().parent) / "fieldbeat-tls"
    hosts = [*dict.fromkeys((host, "localhost", "127.0.0.1"))]
    pair = development_authority(folder, hosts)
    click.echo(f"development CA: {folder / 'ca.pem'}")
    click.echo(f"  devices: add it to config.json as balenaRootCA (base64 -w0 {folder / 'ca.pem'})")
    click.echo(f"  Python:  REQUESTS_CA_BUNDLE={folder / 'ca.pem'}")
    return pair
