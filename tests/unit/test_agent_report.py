"""What a supervisor reports, and when (``SUPERVISOR.md §2``)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from agent.config import AgentConfig
from agent.events import BoardMeasured
from agent.quirks import SUPERVISOR_19
from tests.toy_device import APP, SETTLED, TRIP_MS, Toy, ToyCloud, image_of, service, target

REAL = AgentConfig(initial_config={}, quirks=SUPERVISOR_19)


def settled_toy(config: AgentConfig | None = None) -> Toy:
    disk = replace(SETTLED, target=target())
    images = (image_of("main", "r1"),)
    toy = Toy(ToyCloud(target()), images=images, config=config, persisted=disk)
    toy.run_until(60_000)
    return toy


def test_the_first_report_says_who_the_device_is_and_clears_provisioning() -> None:
    toy = Toy(ToyCloud(target(None)))
    toy.run_until(1_000)
    at_ms, body = toy.reports()[0]
    assert at_ms == 0
    assert body["status"] == "Idle"
    assert body["provisioning_state"] == ""
    assert body["provisioning_progress"] is None
    assert body["supervisor_version"] == "19.0.5"
    assert body["api_port"] == 48484
    assert body["api_secret"] == "s" * 32
    assert "apps" not in body, "an app without release and commit is nothing to report"


def test_a_preloaded_release_is_installed_without_a_download_and_reported_done() -> None:
    toy = settled_toy()
    _, app = toy.apps()[-1]
    assert app == {
        "release_uuid": "r1",
        "releases": {
            "r1": {
                "update_status": "done",
                "services": {"main": {"image": image_of("main", "r1"), "status": "Running"}},
            }
        },
    }


def test_nothing_changed_is_nothing_sent() -> None:
    toy = settled_toy()
    sent = len(toy.reports())
    toy.run_until(3_600_000)
    assert len(toy.reports()) == sent


def test_two_reports_are_at_least_ten_seconds_apart_and_the_last_state_arrives() -> None:
    toy = settled_toy()
    cloud = toy.cloud
    assert isinstance(cloud, ToyCloud)
    cloud.part = target("r2")
    toy.run_until(2_000_000)
    times = [at_ms for at_ms, _ in toy.reports()]
    assert all(later - earlier >= 10_000 for earlier, later in itertools.pairwise(times))
    _, app = toy.apps()[-1]
    assert app["release_uuid"] == "r2"
    assert list(app["releases"]) == ["r2"]


def test_a_download_is_reported_with_its_percents_beside_the_running_release() -> None:
    toy = settled_toy()
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r2")
    toy.run_until(2_000_000)
    downloading = [
        app["releases"]["r2"]["services"]["main"]["download_progress"]
        for _, app in toy.apps()
        if app["releases"].get("r2", {}).get("update_status") == "downloading"
    ]
    assert downloading == sorted(downloading)
    assert downloading[0] == 0
    both = next(app for _, app in toy.apps() if len(app["releases"]) == 2)
    assert both["releases"]["r1"]["update_status"] == "done"


def test_metrics_alone_wait_five_minutes_and_ride_along_with_anything_else() -> None:
    toy = settled_toy()
    last_ms = toy.reports()[-1][0] + TRIP_MS
    toy.feed(BoardMeasured(readings={"cpu_usage": 50, "memory_usage": 400}))
    toy.run_until(400_000)
    at_ms, body = toy.reports()[-1]
    assert at_ms == last_ms + 300_000
    assert body == {"cpu_usage": 50, "memory_usage": 400}
    toy.run_until(at_ms + 20_000)
    toy.feed(BoardMeasured(readings={"cpu_usage": 90, "is_undervolted": True}))
    at_ms, body = toy.reports()[-1]
    assert at_ms == toy.now_ms
    assert body == {"cpu_usage": 90, "is_undervolted": True}


def test_noise_inside_a_bucket_is_no_change() -> None:
    toy = settled_toy()
    toy.feed(BoardMeasured(readings={"cpu_usage": 41, "cpu_temp": 50, "memory_usage": 400}))
    toy.run_until(400_000)
    sent = len(toy.reports())
    toy.feed(BoardMeasured(readings={"cpu_usage": 59, "cpu_temp": 54, "memory_usage": 409}))
    toy.run_until(1_000_000)
    assert len(toy.reports()) == sent


def test_a_failed_report_is_sent_again_with_the_newest_state() -> None:
    toy = settled_toy()
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.answers["PATCH"] = [(500, {}, None), (500, {}, None)]
    began = toy.now_ms
    toy.feed(BoardMeasured(readings={"is_undervolted": True}))
    toy.run_until(began + 5_000)
    toy.feed(BoardMeasured(readings={"is_undervolted": True, "cpu_temp": 80}))
    toy.run_until(began + 100_000)
    times = [at_ms - began for at_ms, _ in toy.reports()][-3:]
    assert times == [0, 15_000 + TRIP_MS, 45_000 + 2 * TRIP_MS]
    assert toy.reports()[-1][1] == {"is_undervolted": True, "cpu_temp": 80}


def test_a_hung_report_is_given_up_after_its_time_out() -> None:
    toy = settled_toy()
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.answers["PATCH"] = ["timeout"]
    began = toy.now_ms
    toy.feed(BoardMeasured(readings={"is_undervolted": True}))
    toy.run_until(began + 100_000)
    assert toy.reports()[-1][0] - began == 59_000 + 15_000


def test_retry_after_is_seconds_and_the_real_one_sleeps_it_in_milliseconds() -> None:
    for config, wait_ms in ((None, 20_000), (REAL, 20)):
        toy = settled_toy(config)
        assert isinstance(toy.cloud, ToyCloud)
        toy.cloud.answers["PATCH"] = [(429, {"retry-after": "20"}, None)]
        began = toy.now_ms
        toy.feed(BoardMeasured(readings={"is_undervolted": True}))
        toy.run_until(began + 60_000)
        assert toy.reports()[-1][0] - began == TRIP_MS + wait_ms


@pytest.mark.parametrize(
    ("config", "pull_ms", "told"),
    [
        (REAL, 5_000, ["r1"]),
        (REAL, 9_150, [None, "r1"]),  # the release runs 0.1 s before a report, and settles after it
        (None, 9_150, ["r1"]),
    ],
)
def test_release_uuid_comes_with_done_unless_a_real_one_reports_before_it_settles(
    config: AgentConfig | None, pull_ms: int, told: list[str | None]
) -> None:
    cloud = ToyCloud(target(None))
    toy = Toy(cloud, persisted=SETTLED, config=config)
    toy.pull_ms = pull_ms
    toy.run_until(60_000)
    cloud.part = target()
    toy.call("POST", "/v1/update")
    toy.run_until(200_000)
    assert [
        app.get("release_uuid")
        for _, app in toy.apps()
        if app["releases"].get("r1", {}).get("update_status") == "done"
    ] == told


def test_a_supervisor_restart_sends_only_the_difference_and_a_reboot_sends_all() -> None:
    toy = settled_toy()
    sent = len(toy.reports())
    toy.restart()
    toy.run_until(toy.now_ms + 60_000)
    assert len(toy.reports()) == sent
    toy.restart(cold_boot=True)
    toy.run_until(toy.now_ms + 60_000)
    assert "api_secret" in toy.reports()[-1][1]
    assert APP in toy.reports()[-1][1]["apps"]


def test_local_mode_leaves_the_apps_out() -> None:
    config = {"BALENA_SUPERVISOR_LOCAL_MODE": "1"}
    toy = Toy(ToyCloud(target(config=config)))
    toy.run_until(60_000)
    toy.restart(cold_boot=True)
    before = len(toy.reports())
    toy.run_until(120_000)
    assert all("apps" not in body for _, body in toy.reports()[before:])


def test_an_unmet_contract_rejects_every_release_without_services() -> None:
    toy = settled_toy()
    assert isinstance(toy.cloud, ToyCloud)
    needy = service("main", "r2")
    needy["contract"] = {"requires": [{"type": "sw.supervisor", "version": ">=99"}]}
    toy.cloud.part = target("r2", {"main": needy})
    toy.run_until(2_000_000)
    _, app = toy.apps()[-1]
    assert app["releases"] == {
        "r1": {"update_status": "rejected"},
        "r2": {"update_status": "rejected"},
    }
    assert toy.running() == {"main": "r1"}


def test_without_hardware_metrics_they_are_null_but_for_the_power_supply() -> None:
    part = target(config={"RESIN_SUPERVISOR_HARDWARE_METRICS": "false"})
    toy = Toy(ToyCloud(target()), persisted=replace(SETTLED, target=target()))
    toy.feed(BoardMeasured(readings={"cpu_usage": 50, "memory_total": 900}))
    toy.run_until(60_000)
    before = len(toy.reports())
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = part
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 5_000)
    assert toy.reports()[before:] == [], "nulls alone wait for the metrics' slot"
    toy.feed(BoardMeasured(readings={"cpu_usage": 90, "is_undervolted": True}))
    toy.run_until(toy.now_ms + 60_000)
    (found,) = [body for _, body in toy.reports()[before:]]
    assert found["is_undervolted"] is True
    assert (found["cpu_usage"], found["memory_total"]) == (None, None)
    toy.feed(BoardMeasured(readings={"cpu_usage": 10}))
    toy.run_until(toy.now_ms + 600_000)
    assert len(toy.reports()) == before + 1
