"""A tour of balena's own Python SDK against a stub: each method, and what came of it.

``docs/sdk.md`` is made by it (``python -m tests.sdk_tour URL EMAIL PASSWORD``), and a test walks
it; the SDK is used as it comes, with settings only.
"""

from __future__ import annotations

import sys
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

if TYPE_CHECKING:
    from collections.abc import Callable


class Step(NamedTuple):
    """One method of the SDK that was called."""

    method: str
    result: str
    held: bool


def sdk(url: str, folder: str) -> Any:
    """The SDK, pointed at a stub by settings."""
    from balena import Balena

    first = Balena({"data_directory": folder})
    first.settings.set("api_endpoint", url.rstrip("/") + "/")
    first.settings.set("pine_endpoint", urljoin(url, "/v7/"))
    return Balena({"data_directory": folder})


class Tour:
    """Calls methods in the order of a person's day, and keeps what came of each."""

    def __init__(self, balena: Any, *, email: str, password: str) -> None:
        self.balena = balena
        self.email = email
        self.password = password
        self.steps: list[Step] = []

    def step(
        self, method: str, call: Callable[[], Any], holds: Callable[[Any], Any] = lambda _: True
    ) -> Any:
        """Call one method and judge what it gives."""
        try:
            value = call()
        except Exception as error:  # whatever a method raises is its result
            self.steps.append(Step(method, f"{type(error).__name__}: {error}"[:160], held=False))
            return None
        held = bool(holds(value))
        shown = "" if value is None else repr(value)
        self.steps.append(Step(method, shown[:160], held=held))
        return value

    def refused(self, method: str, call: Callable[[], Any], words: str) -> None:
        """Call a method that must be refused with these words."""
        try:
            value = call()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self.steps.append(Step(method, f"refused: {words}", held=words in text))
            return
        # several methods of the SDK drop the answer and give None whatever came
        held = value is None or words in str(value)
        shown = "the SDK drops the answer" if value is None else f"refused: {words}"
        self.steps.append(Step(method, shown, held=held))

    def walk(self) -> list[Step]:
        """All of it."""
        for part in (
            self._auth,
            self._fleet,
            self._releases,
            self._device,
            self._report,
            self._variables,
            self._tags,
            self._pinning,
            self._actions,
            self._keys,
            self._end,
        ):
            part()
        return self.steps

    # --- parts -----------------------------------------------------------------------------------

    def _auth(self) -> None:
        auth, step = self.balena.auth, self.step
        credentials = {"username": self.email, "password": self.password}
        step("auth.authenticate", lambda: auth.authenticate(**credentials), lambda v: "." in v)
        step("auth.login", lambda: auth.login(**credentials))
        step("auth.is_logged_in", auth.is_logged_in, lambda v: v is True)
        step("auth.whoami", auth.whoami, lambda v: v["actorType"] == "user")
        step("auth.get_user_info", auth.get_user_info, lambda v: v["email"] == self.email)
        step("auth.get_actor_id", auth.get_actor_id, lambda v: isinstance(v, int))
        step("auth.get_token", auth.get_token, lambda v: "." in v)

    def _fleet(self) -> None:
        models, step = self.balena.models, self.step
        organizations = models.organization
        step("organization.get_all", organizations.get_all, lambda v: v[0]["handle"] == "admin")
        step("organization.get", lambda: organizations.get("admin"), lambda v: v["name"] == "admin")
        kinds = models.device_type
        step("device_type.get_all", kinds.get_all, len)
        step(
            "device_type.get",
            lambda: kinds.get("raspberrypi4-64"),
            lambda v: v["slug"] == "raspberrypi4-64",
        )
        step("device_type.get_by_slug_or_name", lambda: kinds.get_by_slug_or_name("Raspberry Pi 5"))
        step("device_type.get_name", lambda: kinds.get_name("raspberrypi5"))
        step("device_type.get_slug_by_name", lambda: kinds.get_slug_by_name("Raspberry Pi 5"))
        fleets = models.application
        made = step(
            "application.create",
            lambda: fleets.create("Plant-7", "raspberrypi4-64", "admin"),
            lambda v: v["slug"] == "admin/plant-7",
        )
        self.fleet = made["id"]
        self.slug = made["slug"]
        step("application.get_all", fleets.get_all, lambda v: len(v) == 1)
        step("application.get", lambda: fleets.get(self.slug), lambda v: v["id"] == self.fleet)
        step("application.get_by_name", lambda: fleets.get_by_name("Plant-7"), len)
        step("application.get_all_by_organization", lambda: fleets.get_all_by_organization("admin"))
        step("application.has", lambda: fleets.has(self.slug), lambda v: v is True)
        step("application.has_any", fleets.has_any, lambda v: v is True)
        step("application.get_id", lambda: fleets.get_id(self.slug), lambda v: v == self.fleet)
        step("application.rename", lambda: fleets.rename(self.slug, "Plant-8"))
        self.slug = "admin/plant-8"
        step("application.get (renamed)", lambda: fleets.get(self.slug)["app_name"])
        step(
            "application.will_track_new_releases",
            lambda: fleets.will_track_new_releases(self.slug),
            lambda v: v is True,
        )

    def _releases(self) -> None:
        models, step = self.balena.models, self.step
        release = self._release("1.0.0", "a" * 32)
        self.commit = "a" * 32
        step("release.get", lambda: models.release.get(self.commit), lambda v: v["id"] == release)
        step(
            "release.get_all_by_application",
            lambda: models.release.get_all_by_application(self.slug),
            lambda v: len(v) == 1,
        )
        step(
            "release.get_latest_by_application",
            lambda: models.release.get_latest_by_application(self.slug),
            lambda v: v["raw_version"] == "1.0.0",
        )
        step(
            "release.get_with_image_details",
            lambda: models.release.get_with_image_details(self.commit),
            lambda v: v["images"][0]["service_name"] == "main",
        )
        step("release.set_note", lambda: models.release.set_note(self.commit, "first"))
        step(
            "release.set_known_issue_list",
            lambda: models.release.set_known_issue_list(release, "x"),
        )
        step(
            "application.get_target_release_hash",
            lambda: models.application.get_target_release_hash(self.slug),
            lambda v: v == self.commit,
        )
        step(
            "application.is_tracking_latest_release",
            lambda: models.application.is_tracking_latest_release(self.slug),
            lambda v: v is True,
        )
        step(
            "service.get_all_by_application",
            lambda: models.service.get_all_by_application(self.slug),
            lambda v: v[0]["service_name"] == "main",
        )

    def _release(self, semver: str, commit: str) -> int:
        """A release as a builder makes one, through the SDK's own OData client."""
        pine = self.balena.pine
        services = pine.get(
            {"resource": "service", "options": {"$filter": {"application": self.fleet}}}
        )
        service = (
            services[0]["id"]
            if services
            else pine.post(
                {"resource": "service", "body": {"application": self.fleet, "service_name": "main"}}
            )["id"]
        )
        release = pine.post(
            {
                "resource": "release",
                "body": {
                    "belongs_to__application": self.fleet,
                    "commit": commit,
                    "status": "success",
                    "source": "local",
                    "semver": semver,
                    "composition": {"version": "2.1", "services": {"main": {"build": "."}}},
                    "start_timestamp": 1_795_421_549_573,
                },
            }
        )
        image = pine.post(
            {
                "resource": "image",
                "body": {
                    "is_a_build_of__service": service,
                    "start_timestamp": 1_795_421_549_573,
                    "end_timestamp": 1_795_421_549_573,
                    "push_timestamp": 1_795_421_549_573,
                    "status": "success",
                    "image_size": 1000,
                    "project_type": "dockerfile",
                    "content_hash": f"sha256:{commit}{commit}",
                },
            }
        )
        pine.post(
            {
                "resource": "image__is_part_of__release",
                "body": {"image": image["id"], "is_part_of__release": release["id"]},
            }
        )
        self.service = service
        number: int = release["id"]
        return number

    def _device(self) -> None:
        models, step = self.balena.models, self.step
        devices = models.device
        self.uuid = step("device.generate_uuid", devices.generate_uuid, lambda v: len(v) == 62)
        key = step(
            "application.generate_provisioning_key",
            lambda: models.application.generate_provisioning_key(self.slug),
            lambda v: len(v) == 32,
        )
        assert key
        made = step(
            "device.register",
            lambda: devices.register(self.slug, self.uuid),
            lambda v: v["uuid"] == self.uuid,
        )
        self.number = made["id"]
        self.device_key = made["api_key"]
        uuid = self.uuid
        step("device.get", lambda: devices.get(uuid), lambda v: v["overall_status"] == "inactive")
        step("device.get_all", devices.get_all, lambda v: len(v) == 1)
        step(
            "device.get_all_by_application", lambda: devices.get_all_by_application(self.slug), len
        )
        step(
            "device.get_all_by_organization", lambda: devices.get_all_by_organization("admin"), len
        )
        step("device.get_with_service_details", lambda: devices.get_with_service_details(uuid))
        step("device.rename", lambda: devices.rename(uuid, "pump-3"))
        step("device.get_name", lambda: devices.get_name(uuid), lambda v: v == "pump-3")
        step("device.get_by_name", lambda: devices.get_by_name("pump-3"), lambda v: len(v) == 1)
        step("device.get_application_name", lambda: devices.get_application_name(uuid))
        step("device.has", lambda: devices.has(uuid), lambda v: v is True)
        step("device.is_online", lambda: devices.is_online(uuid), lambda v: v is False)
        step("device.get_status", lambda: devices.get_status(uuid), lambda v: v == "inactive")
        step("device.get_metrics", lambda: devices.get_metrics(uuid), lambda v: "cpu_usage" in v)
        step("device.set_note", lambda: devices.set_note(uuid, "by the door"))
        step(
            "device.set_custom_location",
            lambda: devices.set_custom_location(uuid, {"latitude": 1.5, "longitude": 2.5}),
        )
        step("device.unset_custom_location", lambda: devices.unset_custom_location(uuid))
        step("device.enable_device_url", lambda: devices.enable_device_url(uuid))
        step("device.has_device_url", lambda: devices.has_device_url(uuid), lambda v: v is True)
        step("device.disable_device_url", lambda: devices.disable_device_url(uuid))
        step("device.get_local_mode_support", lambda: devices.get_local_mode_support(uuid))
        step(
            "device.is_in_local_mode", lambda: devices.is_in_local_mode(uuid), lambda v: v is False
        )
        step("device.enable_lock_override", lambda: devices.enable_lock_override(uuid))
        step(
            "device.has_lock_override", lambda: devices.has_lock_override(uuid), lambda v: v is True
        )
        step("device.disable_lock_override", lambda: devices.disable_lock_override(uuid))
        step(
            "device.get_supervisor_target_state",
            lambda: devices.get_supervisor_target_state(uuid),
            lambda v: v["local"]["name"] == "pump-3",
        )
        step(
            "device.get_supervisor_target_state_for_app",
            lambda: devices.get_supervisor_target_state_for_app(self.slug),
            lambda v: len(v) == 1,
        )
        step(
            "device.grant_support_access",
            lambda: devices.grant_support_access(uuid, 4_000_000_000_000),
        )
        step("device.revoke_support_access", lambda: devices.revoke_support_access(uuid))
        step("logs.history", lambda: self.balena.logs.history(uuid), lambda v: v == [])

    def _report(self) -> None:
        """The device says what it runs, as a supervisor does: some methods ask for it."""
        import requests

        report = {
            "os_version": "balenaOS 5.0.0",
            "os_variant": "prod",
            "supervisor_version": "16.1.0",
        }
        requests.patch(
            urljoin(self.balena.settings.get("api_endpoint"), "/device/v3/state"),
            json={self.uuid: report},
            headers={"Authorization": f"Bearer {self.device_key}"},
            timeout=10,
        ).raise_for_status()

    def _variables(self) -> None:
        models, step, uuid = self.balena.models, self.step, self.uuid
        for name, model, owner, key in (
            ("application.env_var", models.application.env_var, self.slug, "E"),
            ("application.config_var", models.application.config_var, self.slug, "RESIN_X"),
            ("device.env_var", models.device.env_var, uuid, "Q"),
            ("device.config_var", models.device.config_var, uuid, "BALENA_Y"),
        ):
            step(f"{name}.set", lambda m=model, o=owner, k=key: m.set(o, k, "1"))
            step(f"{name}.set (again)", lambda m=model, o=owner, k=key: m.set(o, k, "2"))
            step(f"{name}.get", lambda m=model, o=owner, k=key: m.get(o, k), lambda v: v == "2")
            listing = "get_all_by_device" if name.startswith("device") else "get_all_by_application"
            step(
                f"{name}.{listing}",
                lambda m=model, o=owner, n=listing: getattr(m, n)(o),
                len,
            )
            step(f"{name}.remove", lambda m=model, o=owner, k=key: m.remove(o, k))
        serviced = models.device.service_var
        step("device.service_var.set", lambda: serviced.set(uuid, "main", "SV", "1"))
        step("device.service_var.get", lambda: serviced.get(uuid, "main", "SV"), lambda v: v == "1")
        step("device.service_var.get_all_by_device", lambda: serviced.get_all_by_device(uuid), len)
        step(
            "device.service_var.get_all_by_application",
            lambda: serviced.get_all_by_application(self.slug),
            len,
        )
        step("device.service_var.remove", lambda: serviced.remove(uuid, "main", "SV"))
        services = models.service.var
        step("service.var.set", lambda: services.set(self.service, "S", "1"))
        step("service.var.get", lambda: services.get(self.service, "S"), lambda v: v == "1")
        step(
            "service.var.get_all_by_service",
            lambda: services.get_all_by_service(self.service),
            len,
        )
        step("service.var.remove", lambda: services.remove(self.service, "S"))

    def _tags(self) -> None:
        models, step = self.balena.models, self.step
        for name, model, owner, listing in (
            ("device.tags", models.device.tags, self.uuid, "get_all_by_device"),
            ("release.tags", models.release.tags, self.commit, "get_all_by_release"),
        ):
            step(f"{name}.set", lambda m=model, o=owner: m.set(o, "site", "north"))
            step(f"{name}.set (again)", lambda m=model, o=owner: m.set(o, "site", "south"))
            step(f"{name}.get", lambda m=model, o=owner: m.get(o, "site"), lambda v: v == "south")
            step(f"{name}.{listing}", lambda m=model, o=owner, n=listing: getattr(m, n)(o), len)
            step(f"{name}.get_all", lambda m=model: m.get_all(), len)
            step(f"{name}.remove", lambda m=model, o=owner: m.remove(o, "site"))
        step(
            "device.tags.get_all_by_application",
            lambda: models.device.tags.get_all_by_application(self.slug),
            lambda v: v == [],
        )

        fleets = models.application.tags
        step("application.tags.set", lambda: fleets.set(self.slug, "site", "north"))
        step(
            "application.tags.get_all_by_application",
            lambda: fleets.get_all_by_application(self.slug),
            lambda v: v[0]["value"] == "north",
        )
        step("application.tags.remove", lambda: fleets.remove(self.slug, "site"))

    def _pinning(self) -> None:
        models, step, uuid = self.balena.models, self.step, self.uuid
        self._release("1.1.0", "b" * 32)
        devices, fleets = models.device, models.application
        step(
            "application.get_target_release_hash (new)",
            lambda: fleets.get_target_release_hash(self.slug),
            lambda v: v == "b" * 32,
        )
        step("device.pin_to_release", lambda: devices.pin_to_release(uuid, self.commit))
        step(
            "device.is_tracking_application_release",
            lambda: devices.is_tracking_application_release(uuid),
            lambda v: v is False,
        )
        step("device.track_application_release", lambda: devices.track_application_release(uuid))
        step("application.pin_to_release", lambda: fleets.pin_to_release(self.slug, self.commit))
        step(
            "application.is_tracking_latest_release (pinned)",
            lambda: fleets.is_tracking_latest_release(self.slug),
            lambda v: v is False,
        )
        step("application.track_latest_release", lambda: fleets.track_latest_release(self.slug))
        draft = self._draft()
        step("release.finalize", lambda: models.release.finalize(draft))
        step("release.set_is_invalidated", lambda: models.release.set_is_invalidated(draft, True))
        step(
            "release.get (invalidated)",
            lambda: models.release.get(draft)["is_invalidated"],
            lambda v: v is True,
        )

    def _draft(self) -> int:
        made = self.balena.pine.post(
            {
                "resource": "release",
                "body": {
                    "belongs_to__application": self.fleet,
                    "commit": "c" * 32,
                    "status": "success",
                    "source": "cloud",
                    "semver": "1.2.0",
                    "is_final": False,
                    "composition": {},
                    "start_timestamp": 1_795_421_549_573,
                },
            }
        )
        number: int = made["id"]
        return number

    def _actions(self) -> None:
        devices, words = self.balena.models.device, "No online device(s) found"
        number = self.number
        for name, call in (
            ("ping", lambda: devices.ping(number)),
            ("identify", lambda: devices.identify(number)),
            ("restart_application", lambda: devices.restart_application(number)),
            ("reboot", lambda: devices.reboot(number)),
            ("shutdown", lambda: devices.shutdown(number)),
            ("purge", lambda: devices.purge(number)),
            ("update", lambda: devices.update(number)),
            ("get_supervisor_state", lambda: devices.get_supervisor_state(number)),
            ("get_application_info", lambda: devices.get_application_info(number)),
            ("start_application", lambda: devices.start_application(number)),
            ("stop_application", lambda: devices.stop_application(number)),
        ):
            self.refused(f"device.{name}", call, words)

    def _keys(self) -> None:
        models, step = self.balena.models, self.step
        step(
            "device.generate_device_key",
            lambda: models.device.generate_device_key(self.uuid),
            lambda v: len(v) == 32,
        )
        keys = models.api_key
        made = step("api_key.create", lambda: keys.create("ci", "for CI"), lambda v: len(v) == 32)
        assert made
        step("api_key.get_all", keys.get_all, len)
        step("api_key.get_all_named_user_api_keys", keys.get_all_named_user_api_keys, len)
        step(
            "api_key.get_provisioning_api_keys_by_application",
            lambda: keys.get_provisioning_api_keys_by_application(self.slug),
            len,
        )
        step(
            "api_key.get_device_api_keys_by_device",
            lambda: keys.get_device_api_keys_by_device(self.uuid),
            len,
        )
        number = keys.get_all_named_user_api_keys()[0]["id"]
        step("api_key.update", lambda: keys.update(number, {"name": "ci-2"}))
        step("api_key.revoke", lambda: keys.revoke(number))
        step("config.get_all", self.balena.models.config.get_all, lambda v: "deviceTypes" in v)

    def _end(self) -> None:
        models, step = self.balena.models, self.step
        step("device.deactivate", lambda: models.device.deactivate(self.uuid))
        step(
            "application.create (second)",
            lambda: models.application.create("Plant-9", "raspberrypi4-64", "admin"),
        )
        step("device.move", lambda: models.device.move(self.uuid, "admin/plant-9"))
        step(
            "device.get_application_name (moved)",
            lambda: models.device.get_application_name(self.uuid),
            lambda v: v == "Plant-9",
        )
        step("device.remove", lambda: models.device.remove(self.uuid))
        step("device.has (removed)", lambda: models.device.has(self.uuid), lambda v: v is False)
        step(
            "release.remove",
            lambda: self.balena.pine.delete(
                {"resource": "release", "options": {"$filter": {"commit": "c" * 32}}}
            ),
        )
        step("application.remove", lambda: models.application.remove(self.slug))
        step(
            "application.has (removed)", lambda: models.application.has(self.slug), lambda v: not v
        )
        step("auth.logout", self.balena.auth.logout)
        step("auth.is_logged_in (after)", self.balena.auth.is_logged_in, lambda v: v is False)


def document(steps: list[Step]) -> str:
    """``docs/sdk.md``: what was called, and what came of it."""
    lines = [
        "# balena's Python SDK against the stub",
        "",
        "Each method below was called on the unpatched PyPI package `balena-sdk` 17.3, pointed at",
        "`fieldbeat cloud` by settings alone; `tests/server/test_sdk.py` does it in every run.",
        "",
        "```python",
        "from balena import Balena",
        "",
        'Balena().settings.set("api_endpoint", "http://127.0.0.1:8080/")',
        "balena = Balena()",
        'balena.auth.login(username="...", password="...")',
        "```",
        "",
        "Actions were called on a device without a tunnel: the stub refuses them as the real API",
        "does. Some methods of the SDK drop the answer of an action, whatever it is.",
        "",
        "| method | result |",
        "|---|---|",
    ]
    for step in steps:
        told = step.result if step.result.startswith(("refused", "the SDK")) else "works"
        lines.append(f"| `{step.method}` | {told if step.held else 'fails'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as _folder:
        _tour = Tour(sdk(sys.argv[1], _folder), email=sys.argv[2], password=sys.argv[3])
        _steps = _tour.walk()
    for _step in _steps:
        print(
            "ok  " if _step.held else "FAIL",
            _step.method,
            "->",
            _step.result[:140],
            file=sys.stderr,
        )
    print(document(_steps), end="")
