"""The supervisor's own API (``SUPERVISOR.md §10``)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent import effects as do
from agent.device_config import needs_reboot
from tests.toy_device import APP_ID, SETTLED, Toy, ToyCloud, image_of, service, target


@pytest.fixture
def toy() -> Toy:
    services = {name: service(name, "r1") for name in ("main", "side")}
    part = target("r1", services)
    images = tuple(image_of(name, "r1") for name in services)
    made = Toy(ToyCloud(part), images=images, persisted=replace(SETTLED, target=part))
    made.run_until(60_000)
    return made


def reply(toy: Toy, method: str, path: str, **body: Any) -> tuple[int, Any]:
    call = toy.call(method, path, **body)
    toy.run_until(toy.now_ms + 30_000)
    return toy.replies()[call]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/ping", {}, 200),
        ("GET", "/v1/healthy", {}, 200),
        ("GET", "/v1/device", {}, 200),
        ("GET", "/v2/version", {}, 200),
        ("GET", "/v2/device/name", {}, 200),
        ("GET", "/v2/device/vpn", {}, 200),
        ("GET", "/v2/state/status", {}, 200),
        ("GET", "/v2/applications/state", {}, 200),
        ("POST", "/v1/update", {}, 204),
        ("POST", "/v1/blink", {}, 200),
        ("POST", "/v1/regenerate-api-key", {}, 200),
        ("POST", "/v1/restart", {}, 400),
        ("POST", "/v1/restart", {"appId": 99}, 404),
        ("POST", "/v1/restart", {"appId": APP_ID}, 200),
        ("POST", "/v1/purge", {"appId": APP_ID}, 200),
        ("POST", "/v1/reboot", {}, 202),
        ("POST", "/v1/shutdown", {}, 202),
        ("POST", f"/v2/applications/{APP_ID}/restart", {}, 200),
        ("POST", f"/v2/applications/{APP_ID}/purge", {}, 200),
        ("POST", f"/v2/applications/{APP_ID}/restart-service", {"serviceName": "main"}, 200),
        ("POST", f"/v2/applications/{APP_ID}/restart-service", {"serviceName": "none"}, 404),
        ("POST", f"/v2/applications/{APP_ID}/stop-service", {"serviceName": "main"}, 200),
        ("POST", f"/v2/applications/{APP_ID}/start-service", {"serviceName": "main"}, 200),
        ("GET", "/v2/cleanup-volumes", {}, 200),
        ("GET", "/v2/local/device-info", {}, 200),
        ("GET", "/v2/containerId", {}, 200),
        ("GET", "/v2/containerId", {"service": "none"}, 404),
        ("GET", f"/v2/applications/{APP_ID}/state", {}, 200),
        ("GET", "/v2/applications/99/state", {}, 404),
        ("GET", f"/v1/apps/{APP_ID}", {}, 400),
        ("GET", "/v1/apps/99", {}, 404),
        ("POST", f"/v1/apps/{APP_ID}/stop", {}, 400),
        ("POST", "/v1/nothing", {}, 404),
        ("GET", "/v1/nothing", {}, 404),
    ],
)
def test_every_call_has_its_answer(
    toy: Toy, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    assert reply(toy, method, path, **body)[0] == status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/reboot", {}),
        ("/v1/shutdown", {}),
        ("/v1/restart", {"appId": APP_ID}),
        ("/v1/purge", {"appId": APP_ID}),
        (f"/v2/applications/{APP_ID}/restart-service", {"serviceName": "main"}),
        (f"/v2/applications/{APP_ID}/stop-service", {"serviceName": "main"}),
    ],
)
def test_a_held_lock_answers_423_and_nothing_is_touched_until_forced(
    toy: Toy, path: str, body: dict[str, Any]
) -> None:
    toy.user_locks.add("side")
    before = len(toy.of(do.StopContainer))
    status, answer = reply(toy, "POST", path, **body)
    assert status == 423
    assert "Lockfile exists" in str(answer)
    assert len(toy.of(do.StopContainer)) == before
    assert not toy.of(do.Reboot)
    assert reply(toy, "POST", path, **body, force=True)[0] < 300
    assert not toy.user_locks


def test_a_restart_recreates_the_containers_and_answers_when_they_run(toy: Toy) -> None:
    call = toy.call("POST", "/v1/restart", appId=APP_ID)
    assert call not in toy.replies()
    toy.run_until(toy.now_ms + 30_000)
    assert toy.replies()[call] == (200, "OK")
    assert toy.running() == {"main": "r1", "side": "r1"}
    assert len(toy.of(do.CreateContainer)) == 4
    assert not toy.of(do.PullImage)


def test_restarting_one_service_leaves_the_other_alone(toy: Toy) -> None:
    reply(toy, "POST", f"/v2/applications/{APP_ID}/restart-service", serviceName="main")
    assert [effect.name for _, effect in toy.of(do.StopContainer)] == [f"main_{APP_ID}_r1"]


def test_a_stopped_service_stays_stopped_until_it_is_started(toy: Toy) -> None:
    reply(toy, "POST", f"/v2/applications/{APP_ID}/stop-service", serviceName="main")
    toy.run_until(toy.now_ms + 3_600_000)
    assert toy.running() == {"side": "r1"}
    reply(toy, "POST", f"/v2/applications/{APP_ID}/start-service", serviceName="main")
    assert toy.running() == {"main": "r1", "side": "r1"}


def test_a_reboot_follows_a_second_after_its_answer(toy: Toy) -> None:
    began = toy.now_ms
    reply(toy, "POST", "/v1/reboot")
    assert [at_ms - began for at_ms, _ in toy.of(do.Reboot)] == [1_000]


def test_updates_are_not_fetched_at_once_where_that_is_switched_off(toy: Toy) -> None:
    assert isinstance(toy.cloud, ToyCloud)
    config = {"BALENA_SUPERVISOR_INSTANT_UPDATE_TRIGGER": "false"}
    toy.cloud.part = {**toy.cloud.part, "config": config}
    reply(toy, "POST", "/v1/update")
    polls = len(toy.polls())
    assert reply(toy, "POST", "/v1/update")[0] == 202
    assert len(toy.polls()) == polls
    assert reply(toy, "POST", "/v1/update", force=True)[0] == 204
    assert len(toy.polls()) == polls + 1


def test_an_update_call_does_not_move_the_next_poll(toy: Toy) -> None:
    deadline = toy.agent.poll.next_ms
    reply(toy, "POST", "/v1/update")
    assert toy.agent.poll.next_ms == deadline


def test_health_fails_after_two_intervals_without_a_poll(toy: Toy) -> None:
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.answers["GET state"] = ["refused"] * 99
    toy.run_until(toy.now_ms + 1_700_000)
    assert reply(toy, "GET", "/v1/healthy")[0] == 200
    toy.run_until(toy.now_ms + 300_000)
    assert reply(toy, "GET", "/v1/healthy") == (500, "Unhealthy")


def test_a_new_api_key_is_kept_and_reported(toy: Toy) -> None:
    _, secret = reply(toy, "POST", "/v1/regenerate-api-key")
    assert toy.disk.api_secret == secret
    assert toy.reports()[-1][1] == {"api_secret": secret}


def test_vpn_control_stops_and_starts_the_client(toy: Toy) -> None:
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = {
        **toy.cloud.part,
        "config": {"BALENA_SUPERVISOR_VPN_CONTROL": "false"},
    }
    reply(toy, "POST", "/v1/update")
    toy.cloud.part = {**toy.cloud.part, "config": {}}
    reply(toy, "POST", "/v1/update")
    assert [effect.enabled for _, effect in toy.of(do.SetVpn)] == [False, True]


def test_a_boot_variable_reboots_the_device_once_and_waits_for_locks(toy: Toy) -> None:
    assert isinstance(toy.cloud, ToyCloud)
    toy.user_locks.add("main")
    toy.cloud.part = {**toy.cloud.part, "config": {"RESIN_HOST_CONFIG_gpu_mem": "32"}}
    reply(toy, "POST", "/v1/update")
    assert not toy.of(do.Reboot)
    assert toy.reboot_needed
    toy.user_locks.clear()
    toy.run_until(toy.now_ms + 60_000)
    assert len(toy.of(do.Reboot)) == 1
    toy.restart(cold_boot=True)
    toy.run_until(toy.now_ms + 3_600_000)
    assert len(toy.of(do.Reboot)) == 1


def test_which_variables_need_a_reboot() -> None:
    assert needs_reboot({}, {"HOST_CONFIG_gpu_mem": "32"})
    assert needs_reboot({"SUPERVISOR_PERSISTENT_LOGGING": "1"}, {})
    assert not needs_reboot({}, {"SUPERVISOR_POLL_INTERVAL": "1"})
    assert not needs_reboot({"HOST_CONFIG_a": "1"}, {"HOST_CONFIG_a": "1"})


def test_states_are_told_in_the_words_and_numbers_of_the_cloud(toy: Toy) -> None:
    _, state = reply(toy, "GET", "/v2/state/status")
    assert state["release"] == "r1"
    assert {(box["status"], box["appId"]) for box in state["containers"]} == {("Running", APP_ID)}
    assert {image["status"] for image in state["images"]} == {"Downloaded"}
    _, apps = reply(toy, "GET", "/v2/applications/state")
    ((_, app),) = apps.items()
    assert (app["appId"], app["commit"]) == (APP_ID, "r1")
    assert app["services"]["main"]["status"] == "Running"
    assert app["services"]["main"]["downloadProgress"] is None
    _, one = reply(toy, "GET", f"/v2/applications/{APP_ID}/state")
    assert one["commit"] == "r1"
    told = one["local"][str(APP_ID)]["services"].values()
    assert {service["status"] for service in told} == {"Running"}
    _, ids = reply(toy, "GET", "/v2/containerId")
    assert ids["services"].keys() == {"main", "side"}


def test_the_only_container_of_an_app_can_be_stopped_and_started() -> None:
    part = target("r1", {"main": service("main", "r1")})
    toy = Toy(
        ToyCloud(part), images=(image_of("main", "r1"),), persisted=replace(SETTLED, target=part)
    )
    toy.run_until(60_000)
    _, before = reply(toy, "GET", f"/v1/apps/{APP_ID}")
    assert before["commit"] == "r1"
    for name, status in (("stop", "exited"), ("start", "Running")):
        answered, body = reply(toy, "POST", f"/v1/apps/{APP_ID}/{name}")
        assert (answered, body) == (200, {"containerId": before["containerId"]})
        _, state = reply(toy, "GET", "/v2/state/status")
        assert [box["status"] for box in state["containers"]] == [status]


def test_a_supervisor_whose_apply_does_not_end_is_not_healthy(toy: Toy) -> None:
    toy.user_locks.add("main")
    toy.cloud.part = target("r2", {"main": service("main", "r2")})
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 60_000)
    assert toy.agent.healthy(now_ms=toy.now_ms)
    began_ms = toy.agent.update.began_ms
    limit_ms = 2 * toy.agent.poll.interval_ms
    toy.agent.poll.last_success_ms = began_ms + limit_ms
    pulling_ms = toy.agent.update.fetched_ms
    assert toy.agent.healthy(now_ms=began_ms + limit_ms + pulling_ms - 1)
    assert not toy.agent.healthy(now_ms=began_ms + limit_ms + pulling_ms)


# --- the host OS, and tags ------------------------------------------------------------------------


def test_host_name_and_proxy_are_set_and_empty_ones_are_the_default_again(toy: Toy) -> None:
    proxy = {"type": "socks5", "ip": "10.0.0.1", "port": 1080, "noProxy": ["10.0.0.0/8"]}
    assert reply(toy, "GET", "/v1/device/host-config")[1] == {"network": {"hostname": "aaaaaaa"}}
    path = "/v1/device/host-config"
    assert reply(toy, "PATCH", path, network={"hostname": "pump", "proxy": proxy}) == (200, "OK")
    assert reply(toy, "GET", path)[1] == {"network": {"hostname": "pump", "proxy": proxy}}
    assert reply(toy, "PATCH", path, network={"hostname": ""}) == (200, "OK")
    assert reply(toy, "GET", path)[1] == {"network": {"hostname": "aaaaaaa", "proxy": proxy}}
    assert reply(toy, "PATCH", path, network={"proxy": {}}) == (200, "OK")
    assert reply(toy, "GET", path)[1] == {"network": {"hostname": "aaaaaaa"}}
    assert toy.running() == {"main": "r1", "side": "r1"}


def test_a_held_lock_keeps_the_host_as_it_is_until_forced(toy: Toy) -> None:
    toy.user_locks.add("main")
    path, body = "/v1/device/host-config", {"network": {"hostname": "pump"}}
    status, text = reply(toy, "PATCH", path, **body)
    assert status == 423
    assert text.startswith("Lockfile exists")
    assert reply(toy, "GET", path)[1]["network"]["hostname"] == "aaaaaaa"
    assert reply(toy, "PATCH", path, **body, force=True) == (200, "OK")
    assert reply(toy, "GET", path)[1]["network"]["hostname"] == "pump"


def _tag_requests(toy: Toy) -> list[tuple[int, Any]]:
    sent = toy.of(do.SendRequest)
    return [(at_ms, one.body) for at_ms, one in sent if one.path == "/device/v3/tags"]


def test_tags_are_told_at_once_and_then_gathered_for_ten_seconds(toy: Toy) -> None:
    began_ms = toy.now_ms
    call = toy.call("PATCH", "/v2/device/tags", site="north")
    toy.run_until(began_ms + 1_000)
    assert toy.replies()[call] == (200, {"status": "success"})
    toy.call("PATCH", "/v2/device/tags", row="1")
    toy.call("PATCH", "/v2/device/tags", row="2", site="south")
    toy.run_until(began_ms + 60_000)
    (first_ms, first), (second_ms, second) = _tag_requests(toy)
    assert list(first.values()) == [{"site": "north"}]
    assert list(second.values()) == [{"row": "2", "site": "south"}]
    assert first_ms == began_ms
    assert 10_000 <= second_ms - first_ms < 10_100


def test_tags_that_were_not_taken_are_tried_again_also_after_a_restart(toy: Toy) -> None:
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.answers["PATCH"] = [(500, {}, None), "reset", (500, {}, None)]
    began_ms = toy.now_ms
    toy.call("PATCH", "/v2/device/tags", site="north")
    toy.run_until(began_ms + 50_000)
    times = [at_ms - began_ms for at_ms, _ in _tag_requests(toy)]
    assert times == [0, 15_040, 45_080]
    assert toy.agent.ctx.persisted.tags == {"site": "north"}
    again = Toy(ToyCloud(target()), persisted=toy.agent.ctx.persisted)
    again.run_until(1_000)
    assert [body for _, body in _tag_requests(again)] == [{"a" * 32: {"site": "north"}}]
    assert again.agent.ctx.persisted.tags == {}


@pytest.mark.parametrize("tags", [{"a b": "1"}, {"": "1"}, {"a": 1}])
def test_what_is_no_tag_is_refused(toy: Toy, tags: dict[str, Any]) -> None:
    status, answer = reply(toy, "PATCH", "/v2/device/tags", **tags)
    assert (status, answer["status"]) == (400, "failed")
    assert not _tag_requests(toy)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            (200, {}, {"d": [{"id": 5, "tag_key": "site", "value": "north"}]}),
            (200, {"status": "success", "tags": [{"id": 5, "name": "site", "value": "north"}]}),
        ),
        ((500, {}, None), (500, {"status": "failed", "message": "the API answered 500"})),
        ("reset", (500, {"status": "failed", "message": "no answer: reset"})),
    ],
)
def test_tags_are_what_the_cloud_says(toy: Toy, answer: Any, expected: tuple[int, Any]) -> None:
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.answers["GET device_tag"] = [answer]
    assert reply(toy, "GET", "/v2/device/tags") == expected


def test_an_update_that_waits_for_a_lock_is_downloaded(toy: Toy) -> None:
    assert isinstance(toy.cloud, ToyCloud)
    toy.user_locks.add("main")
    services = {name: service(name, "r2") for name in ("main", "side")}
    toy.cloud.part = target("r2", services)
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 30_000)
    assert reply(toy, "GET", "/v1/device")[1]["update_downloaded"] is True
    assert toy.running() == {"main": "r1", "side": "r1"}
