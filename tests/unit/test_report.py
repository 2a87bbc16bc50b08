"""State reports: what is refused whole, what is cut, what writes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_stub.columns import read
from cloud_stub.messages import CreateFleet
from tests.cloud_desk import (
    FLEET_UUID,
    OTHER_DEVICE,
    OTHER_UUID,
    UNKNOWN_UUID,
    UUID,
    Desk,
    image,
    release,
)

DEVICE_KEY = "device-key"


def stored(desk: Desk, column: str) -> Any:
    return read(desk.device, column)


def installs(desk: Desk) -> list[tuple[str, int | None, str]]:
    return [(row.status, row.download_progress, row.release.commit) for row in desk.device.installs]


# --- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        {"status": 5},
        {"status": None},
        {"os_version": ["x"]},
        {"is_online": "yes"},
        {"api_port": "x"},
        {"api_port": True},
        {"provisioning_progress": "5"},
        {"provisioning_progress": 5.5},
        {"provisioning_state": 7},
        {"provisioning_state": "x" * 256},
        {"cpu_temp": 1.5},
        {"cpu_id": "x" * 256},
        {"apps": []},
        {"apps": {FLEET_UUID: None}},
        {"apps": {FLEET_UUID: {"releases": []}}},
        {"apps": {FLEET_UUID: {"release_uuid": 5}}},
        {"apps": {FLEET_UUID: {"releases": {"r1": {"update_status": "Done"}}}}},
        {"apps": {FLEET_UUID: {"releases": {"r1": {"services": {"main": {}}}}}}},
        {
            "apps": {
                FLEET_UUID: {
                    "releases": {
                        "r1": {
                            "services": {
                                "main": {
                                    "image": image("r1", "main"),
                                    "status": "Downloading",
                                    "download_progress": 1.5,
                                }
                            }
                        }
                    }
                }
            }
        },
    ],
)
def test_a_wrong_type_refuses_the_whole_report(part: dict[str, Any]) -> None:
    desk = Desk()
    response = desk.report({"os_variant": "prod", "note": "kept out", **part})
    assert (response.status, response.body) == (400, None)
    assert stored(desk, "note") is None
    assert desk.effects == ()


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"unknown_key": 1},
        {"update_status": "done"},
        {"apps": {}},
        {"provisioning_state": None, "provisioning_progress": None},
        {"cpu_temp": None},
        {"name": "ignored"},
    ],
)
def test_what_the_api_does_not_know_is_ignored(part: dict[str, Any]) -> None:
    desk = Desk()
    assert desk.report(part).status == 200
    assert desk.see("update_status") is None
    assert desk.device.name == "purple-wood"


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        {UUID: 5},
        {UNKNOWN_UUID: {"status": "Idle"}},
        {UUID: {"status": "Both"}, UNKNOWN_UUID: {"status": "Idle"}},
        {UUID: {"status": "Both"}, OTHER_UUID: {"status": "Idle"}},
    ],
)
def test_a_body_that_is_not_about_the_keys_device_alone_is_unauthorized(body: Any) -> None:
    desk = Desk()
    response = desk.ask("PATCH", "/device/v3/state", DEVICE_KEY, body)
    assert (response.status, response.body) == (401, None)
    assert desk.see("status") is None


def test_a_number_that_fits_no_column_is_a_server_error() -> None:
    response = Desk().report({"provisioning_progress": 1e12})
    assert (response.status, response.body) == (500, "Server error")


def test_progress_of_provisioning_is_not_checked_for_its_range() -> None:
    desk = Desk()
    for progress in (-5, 250):
        assert desk.report({"provisioning_progress": progress}).status == 200
        assert desk.see("provisioning_progress") == progress


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "limit"),
    [
        ("status", 50),
        ("os_version", 70),
        ("supervisor_version", 20),
        ("api_secret", 64),
        ("ip_address", 2_000),
        ("mac_address", 900),
    ],
)
def test_long_text_is_cut_not_refused(column: str, limit: int) -> None:
    desk = Desk()
    assert desk.report({column: "x" * (limit + 1)}).status == 200
    assert stored(desk, column) == "x" * limit


def test_lists_of_addresses_are_cut_at_a_blank() -> None:
    desk = Desk()
    address = "10.0.0.1"
    # 222 addresses and their blanks are 1997 characters: the 223rd would be cut in two
    desk.report({"ip_address": " ".join([address] * 300)})
    assert stored(desk, "ip_address") == " ".join([address] * 222)


def test_an_os_variant_other_than_dev_or_prod_is_dropped_alone() -> None:
    desk = Desk()
    desk.report({"os_variant": "prod"})
    assert desk.report({"os_variant": "beta", "status": "Idle"}).status == 200
    assert stored(desk, "os_variant") == "prod"
    assert desk.see("status") == "Idle"


def test_a_cpu_id_is_lower_cased_or_dropped_if_it_cannot_be_printed() -> None:
    desk = Desk()
    desk.report({"cpu_id": "ABC"})
    assert stored(desk, "cpu_id") == "abc"
    desk.report({"status": "Idle", "cpu_id": "é\n"})
    assert stored(desk, "cpu_id") == "abc"


def test_a_written_is_online_moves_the_connectivity_event() -> None:
    desk = Desk()
    desk.report({"is_online": True}, 5_000)
    assert desk.see("is_online")
    assert not desk.see("is_connected_to_vpn")
    assert desk.see("last_connectivity_event") == 5_000
    assert desk.see("last_vpn_event") is None
    assert desk.see("overall_status") == "disconnected"


# --- what is written, and when ------------------------------------------------------------------


def test_equal_values_write_nothing() -> None:
    desk = Desk()
    desk.report_release(update_status="downloading", at=1_000)
    assert desk.see("last_update_status_event") == 1_000
    desk.report_release(update_status="downloading", at=2_000)
    assert desk.effects == ()
    assert desk.see("last_update_status_event") == 1_000


def test_one_different_field_writes_all_and_moves_the_update_event() -> None:
    desk = Desk()
    part = {"apps": {FLEET_UUID: {"releases": {"r1": {"update_status": "done"}}}}}
    desk.report(part, 1_000)
    desk.report({"status": "Idle", **part}, 2_000)
    assert desk.changed() == {"status": "Idle", "last_update_status_event": 2_000}


def test_metrics_alone_are_stored_every_so_often_and_ride_along_otherwise() -> None:
    desk = Desk()
    desk.report({"memory_usage": 1}, 0)
    assert stored(desk, "memory_usage") == 1
    desk.report({"memory_usage": 2}, 59_999)
    assert stored(desk, "memory_usage") == 1
    desk.report({"memory_usage": 3, "status": "Idle"}, 59_999)
    assert stored(desk, "memory_usage") == 3
    desk.report({"memory_usage": 4}, 59_999 + 60_000)
    assert stored(desk, "memory_usage") == 4


def test_metrics_are_capped_and_a_fraction_matters_only_when_it_is_stored() -> None:
    desk = Desk()
    desk.report({"memory_usage": 99_999_999_999}, 0)
    assert stored(desk, "memory_usage") == 2_147_483_647
    assert desk.report({"memory_usage": 1.5}, 1_000).status == 200
    assert desk.report({"memory_usage": 1.5}, 60_000).status == 400


def test_reports_of_metrics_change_nothing_people_see() -> None:
    desk = Desk()
    desk.report({"cpu_usage": 12, "cpu_temp": 50}, 0)
    assert desk.effects == ()


# --- releases and images ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "app",
    [
        {"releases": {"deadbeef": {"update_status": "done"}}},
        {"release_uuid": "deadbeef"},
        {"releases": {"r1": {"services": {"main": {"image": "nosuch", "status": "Running"}}}}},
        {
            "releases": {
                "r1": {"services": {"main": {"image": image("r2", "main"), "status": "Running"}}}
            }
        },
        {
            "releases": {
                "r1": {
                    "services": {
                        "main": {
                            "image": image("r1", "main").split("@")[0] + "@sha256:00",
                            "status": "Running",
                        }
                    }
                }
            }
        },
    ],
)
def test_an_unknown_release_or_image_stores_nothing_at_all(app: dict[str, Any]) -> None:
    desk = Desk()
    desk.tell(release("r2"))
    response = desk.report({"status": "Idle", "apps": {FLEET_UUID: app}})
    assert (response.status, response.body) == (401, None)
    assert desk.see("status") is None
    assert installs(desk) == []


def test_an_unknown_app_is_fine_as_long_as_it_names_no_release() -> None:
    desk = Desk()
    assert desk.report({"apps": {"0" * 32: {"releases": {}}}}).status == 200
    assert desk.report({"apps": {"0" * 32: {"releases": {"r1": {}}}}}).status == 401


def test_images_are_matched_by_location_and_the_services_name_is_not_looked_at() -> None:
    desk = Desk()
    location = image("r1", "main").split("@")[0]
    services = {"anything": {"image": location, "status": "Running"}}
    desk.report({"apps": {FLEET_UUID: {"releases": {"r1": {"services": services}}}}})
    assert desk.see("services.main") == "Running"


def test_progress_is_written_at_once_only_when_it_says_something() -> None:
    desk = Desk()
    desk.report_release(status="Downloading", download_progress=1, at=0)
    desk.report_release(status="Downloading", download_progress=50, at=29_999)
    assert installs(desk) == [("Downloading", 1, "r1")]
    desk.report_release(status="Downloading", download_progress=60, at=30_000)
    assert installs(desk) == [("Downloading", 60, "r1")]
    desk.report_release(status="Downloading", download_progress=100, at=30_001)
    assert installs(desk) == [("Downloading", 100, "r1")]
    desk.report_release(status="Downloading", download_progress=None, at=30_002)
    assert installs(desk) == [("Downloading", None, "r1")]
    desk.report_release(status="Downloading", download_progress=7, at=30_003)
    assert installs(desk) == [("Downloading", 7, "r1")]
    desk.report_release(status="Downloaded", at=30_004)
    assert installs(desk) == [("Downloaded", None, "r1")]


def test_rows_a_report_with_apps_does_not_name_become_deleted() -> None:
    desk = Desk()
    desk.tell(release("r2"))
    desk.report_release("r1", status="Downloading", download_progress=5)
    desk.report_release("r2", status="Downloading", download_progress=3)
    assert installs(desk) == [("deleted", None, "r1"), ("Downloading", 3, "r2")]
    desk.report({"status": "Idle"})
    assert installs(desk) == [("deleted", None, "r1"), ("Downloading", 3, "r2")]
    desk.report({"apps": {}})
    assert installs(desk) == [("deleted", None, "r1"), ("deleted", None, "r2")]


def test_an_unknown_service_status_leaves_the_row_as_it_was() -> None:
    desk = Desk()
    desk.report_release(status="Running")
    assert desk.report_release(status="Nonsense").status == 200
    assert installs(desk) == [("Running", None, "r1")]


def test_the_first_update_status_of_the_devices_own_releases_wins() -> None:
    desk = Desk()
    desk.tell(release("r2"))
    releases = {"r1": {"update_status": "done"}, "r2": {"update_status": "downloaded"}}
    desk.report({"apps": {FLEET_UUID: {"releases": releases}}})
    assert desk.see("update_status") == "downloaded"


def test_the_running_release_is_the_one_the_report_names() -> None:
    desk = Desk()
    desk.report_release(running="r1", status="Running", update_status="done")
    assert desk.see("running_release") == "r1"


def test_what_is_said_of_another_app_does_not_become_the_devices() -> None:
    desk = Desk()
    desk.tell(CreateFleet(name="second", uuid="2" * 32))
    desk.tell(release("s1", fleet="second"))
    app = {"release_uuid": "s1", "releases": {"s1": {"update_status": "rejected"}}}
    assert desk.report({"apps": {"2" * 32: app}}).status == 200
    assert desk.see("update_status") is None
    assert desk.see("running_release") is None


def test_a_device_cannot_report_for_another() -> None:
    desk = Desk()
    assert desk.report({"status": "Idle"}, key=OTHER_DEVICE).status == 401


# --- v2 -----------------------------------------------------------------------------------------


def test_only_v2_sets_the_devices_own_download_progress() -> None:
    desk = Desk()
    desk.report({"status": "Downloading", "download_progress": 33})
    assert desk.see("download_progress") is None
    assert desk.report_v2({"status": "Downloading", "download_progress": 33}).status == 200
    assert desk.see("download_progress") == 33


def test_v2_names_releases_and_images_by_id() -> None:
    desk = Desk()
    fleet = desk.device.fleet
    first = fleet.releases["r1"]
    service = {"releaseId": first.id, "status": "Downloading", "download_progress": 4}
    services = {str(first.images["main"].id): service}
    report = {"apps": {str(fleet.id): {"services": services}}, "is_on__commit": "r1"}
    assert desk.report_v2(report).status == 200
    assert installs(desk) == [("Downloading", 4, "r1")]
    assert desk.see("running_release") == "r1"
    services["999"] = service
    assert desk.report_v2(report).status == 401


@pytest.mark.parametrize("body", [None, {}, {"local": 5}, {"local": {"status": 5}}])
def test_a_v2_body_of_a_wrong_type_is_refused(body: Any) -> None:
    desk = Desk()
    response = desk.ask("PATCH", f"/device/v2/{UUID}/state", DEVICE_KEY, body)
    assert response.status == 400


def test_v2_can_rename_the_device_which_changes_its_target() -> None:
    desk = Desk()
    etag = desk.poll().headers["etag"]
    desk.report_v2({"name": "new name"})
    assert desk.poll(etag=etag).body[UUID]["name"] == "new name"
