"""Target states: the v2 and v3 bodies (``WIRE.md §4``), and their ETags.

What the devices of a fleet have in common is built once and shared: the app part for each release,
the configuration where a device has no variables of its own.  Nobody may change a body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .answers import compact, etag_of
from .model import NO_ENVIRONMENT
from .variables import config_of, effective

if TYPE_CHECKING:
    from .messages import ServiceSpec
    from .model import Device, Environment, Fleet, Release
    from .settings import CloudSettings

_CONFIG = -1
SHARED_MAX = 4_096
"""Parts a fleet keeps; beyond it they are made anew."""


class _Part(NamedTuple):
    """A part of a body, and the JSON it is sent as: ETags are made of what is sent."""

    value: dict[str, Any]
    text: str


def _part(value: dict[str, Any]) -> _Part:
    return _Part(value, compact(value))


def _etag_v3(uuid: str, name: str, apps: _Part, config: _Part) -> str:
    text = (
        f'{{{compact(uuid)}:{{"name":{compact(name)},"apps":{apps.text},"config":{config.text}}}}}'
    )
    return etag_of(text.encode())


def etag_v3(device: Device, settings: CloudSettings) -> str:
    """The ETag of a device's v3 target state; made once until the target changes."""
    if device.etag is None:
        apps, config = _device_apps(device, "v3"), _config(device, settings)
        device.etag = _etag_v3(device.uuid, device.name, apps, config)
    return device.etag


def etag_v2(device: Device, settings: CloudSettings) -> str:
    """The same for v2, made anew each time: supervisors no longer ask for it."""
    return etag_of(compact(body_v2(device, settings)).encode())


def body_v3(device: Device, settings: CloudSettings) -> dict[str, Any]:
    """``GET /device/v3/<uuid>/state``."""
    return {
        device.uuid: {
            "name": device.name,
            "apps": _device_apps(device, "v3").value,
            "config": _config(device, settings).value,
        }
    }


def body_v2(device: Device, settings: CloudSettings) -> dict[str, Any]:
    """``GET /device/v2/<uuid>/state``."""
    return {
        "local": {
            "name": device.name,
            "config": _config(device, settings).value,
            "apps": _device_apps(device, "v2").value,
        },
        "dependent": {"apps": {}, "devices": {}},
    }


def fleet_body(fleet: Fleet, settings: CloudSettings) -> dict[str, Any]:
    """``GET /device/v3/fleet/<uuid>/state``: what a new device of the fleet would be sent."""
    return {
        fleet.uuid: {
            "name": fleet.name,
            "apps": _apps(fleet, fleet.tracks, "v3").value,
            "config": _fleet_config(fleet, settings).value,
        }
    }


def fleet_etag(fleet: Fleet, settings: CloudSettings) -> str:
    """The ETag of ``fleet_body``."""
    apps, config = _apps(fleet, fleet.tracks, "v3"), _fleet_config(fleet, settings)
    return _etag_v3(fleet.uuid, fleet.name, apps, config)


# --- parts --------------------------------------------------------------------------------------


def _config(device: Device, settings: CloudSettings) -> _Part:
    if not device.variables:
        return _fleet_config(device.fleet, settings)
    # devices with the same variables share one value
    shared, place = device.fleet.shared, ("config", *sorted(device.variables.items()))
    found: _Part | None = shared.get(place)
    if found is None:
        if len(shared) > SHARED_MAX:
            shared.clear()
        found = shared[place] = _part(config_of(effective(device), settings))
    return found


def _fleet_config(fleet: Fleet, settings: CloudSettings) -> _Part:
    found: _Part | None = fleet.shared.get(("config", _CONFIG))
    if found is None:
        found = fleet.shared["config", _CONFIG] = _part(config_of(fleet.variables, settings))
    return found


def fleet_changed(fleet: Fleet) -> None:
    """The fleet's name, environment or releases are not what they were."""
    fleet.shared.clear()


def variables_changed(fleet: Fleet) -> None:
    """The fleet's configuration is not what it was."""
    for place in [place for place in fleet.shared if place[0] == "config"]:
        del fleet.shared[place]


def _device_apps(device: Device, version: str) -> _Part:
    if device.environment == NO_ENVIRONMENT:
        return _apps(device.fleet, device.should_run, version)
    return _build_apps(device.fleet, device.should_run, version, device.environment)


def _build_apps(
    fleet: Fleet, release: Release | None, version: str, environment: Environment
) -> _Part:
    build = _app_v3 if version == "v3" else _app_v2
    name = fleet.uuid if version == "v3" else str(fleet.id)
    return _part({name: build(fleet, release, environment)})


def _apps(fleet: Fleet, release: Release | None, version: str) -> _Part:
    place = (version, release.id if release else 0)
    found: _Part | None = fleet.shared.get(place)
    if found is None:
        built = _build_apps(fleet, release, version, NO_ENVIRONMENT)
        found = fleet.shared[place] = built
    return found


def _app_v3(fleet: Fleet, release: Release | None, own: Environment) -> dict[str, Any]:
    releases: dict[str, Any] = {}
    if release is not None:
        services = {
            image.service: {
                "id": image.service_id,
                "image_id": image.id,
                **_service(release.services[image.service], fleet, own),
            }
            for image in release.images.values()
        }
        releases[release.commit] = {"id": release.id, "services": services}
    return {
        "id": fleet.id,
        "name": fleet.name,
        "is_host": False,
        "class": "fleet",
        "releases": releases,
    }


def _environment(spec: ServiceSpec, fleet: Fleet, own: Environment) -> dict[str, str]:
    """The release's, the fleet's, the device's: the later one wins (``WIRE.md §4``)."""
    given = {**spec.environment, **fleet.environment.of(spec.name), **own.of(spec.name)}
    return dict(sorted(given.items()))


def _service(spec: ServiceSpec, fleet: Fleet, own: Environment) -> dict[str, Any]:
    service = {
        "image": spec.image,
        "environment": _environment(spec, fleet, own),
        "labels": dict(spec.labels),
        "composition": dict(spec.composition),
    }
    if spec.contract is not None:
        service["contract"] = dict(spec.contract)
    return service


def _app_v2(fleet: Fleet, release: Release | None, own: Environment) -> dict[str, Any]:
    app: dict[str, Any] = {"name": fleet.name, "services": {}, "networks": {}, "volumes": {}}
    if release is None:
        return app
    for image in release.images.values():
        spec = release.services[image.service]
        app["services"][str(image.service_id)] = {
            "imageId": image.id,
            "serviceName": spec.name,
            "image": spec.image,
            "running": True,
            "environment": _environment(spec, fleet, own),
            "labels": dict(spec.labels),
        }
    return {"releaseId": release.id, "commit": release.commit, **app}
