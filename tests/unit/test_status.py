"""The status rules, one sentence of ``STATUS.md`` at a time."""

from __future__ import annotations

import pytest

from cloud_stub.status import (
    LADDER,
    HeartbeatState,
    Install,
    OverallStatus,
    StatusInputs,
    UpdateStatus,
    connectivity,
    display,
    first_update_status,
    overall_progress,
    overall_status,
    update_status_display,
    update_status_duration_ms,
)

ONLINE, TIMEOUT = HeartbeatState.ONLINE, HeartbeatState.TIMEOUT
OFFLINE, UNKNOWN = HeartbeatState.OFFLINE, HeartbeatState.UNKNOWN
WELL = StatusInputs(heartbeat=ONLINE, is_connected_to_vpn=True, ever_connected=True)


def downloading(progress: int | None, *, of_target: bool = True) -> Install:
    return Install("Downloading", progress, of_target)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "operational"),
        ({"is_frozen": True, "is_active": False}, "frozen"),
        ({"is_active": False, "provisioning_state": "Post-Provisioning"}, "inactive"),
        ({"provisioning_state": "Post-Provisioning"}, "post-provisioning"),
        (
            {"is_connected_to_vpn": False, "ever_connected": False, "heartbeat": UNKNOWN},
            "configuring",
        ),
        ({"is_connected_to_vpn": False, "heartbeat": UNKNOWN}, "disconnected"),
        ({"is_connected_to_vpn": False, "heartbeat": OFFLINE}, "disconnected"),
        (
            {"status": "Downloading", "download_progress": 0, "provisioning_progress": 5},
            "updating",
        ),
        ({"provisioning_progress": 0, "installs": (downloading(3),)}, "configuring"),
        ({"installs": (downloading(0),)}, "updating"),
        ({"installs": (downloading(None),)}, "operational"),
        ({"installs": (downloading(50),), "heartbeat": OFFLINE}, "reduced-functionality"),
        ({"heartbeat": TIMEOUT}, "reduced-functionality"),
        ({"heartbeat": UNKNOWN}, "reduced-functionality"),
        ({"heartbeat": OFFLINE}, "reduced-functionality"),
        ({"is_connected_to_vpn": False}, "reduced-functionality"),
        ({"is_connected_to_vpn": False, "vpn_disabled": True}, "operational"),
        (
            {"is_connected_to_vpn": False, "vpn_disabled": True, "heartbeat": TIMEOUT},
            "reduced-functionality",
        ),
    ],
)
def test_the_first_rung_that_holds_decides(changes: dict[str, object], expected: str) -> None:
    assert overall_status(WELL._replace(**changes)) == expected


def test_open_balena_knows_neither_frozen_nor_inactive() -> None:
    inputs = WELL._replace(is_frozen=True, is_active=False)
    assert overall_status(inputs, "open-balena") is OverallStatus.OPERATIONAL
    assert overall_status(inputs, "balena-cloud") is OverallStatus.FROZEN


def test_the_ladder_has_the_rows_of_the_specification_in_their_order() -> None:
    assert [rung.row for rung in LADDER] == [str(row) for row in range(10)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"is_active": False, "provisioning_progress": 7}, None),
        ({"provisioning_state": "Post-Provisioning", "provisioning_progress": 100}, 100),
        (
            {
                "is_connected_to_vpn": False,
                "heartbeat": OFFLINE,
                "status": "Downloading",
                "download_progress": 9,
            },
            None,
        ),
        (
            {"status": "Downloading", "download_progress": 9, "provisioning_progress": 7},
            9,
        ),
        # a device's own download counts at any heartbeat
        ({"heartbeat": OFFLINE, "status": "Downloading", "download_progress": 9}, 9),
        ({"status": "Idle", "download_progress": 9}, None),
        ({"provisioning_progress": 7, "installs": (downloading(3),)}, 7),
    ],
)
def test_progress_follows_its_own_ladder(changes: dict[str, object], expected: int | None) -> None:
    assert overall_progress(WELL._replace(**changes)) == expected


def test_progress_of_images_is_the_mean_over_what_belongs_to_the_update() -> None:
    installs = (
        downloading(40),
        Install("Downloaded", None, of_target=True),  # counts as 100
        Install("Running", None, of_target=False),  # of the old release: not counted
        Install("deleted", None, of_target=True),  # gone: not counted
        downloading(11, of_target=False),  # still downloading: counted
    )
    # (40 + 100 + 11) / 3 = 50.33…
    assert overall_progress(WELL._replace(installs=installs)) == 50


@pytest.mark.parametrize(("first", "second", "mean"), [(10, 21, 16), (1, 2, 2), (0, 1, 1)])
def test_a_half_percent_is_rounded_up(first: int, second: int, mean: int) -> None:
    installs = (downloading(first), downloading(second))
    assert overall_progress(WELL._replace(installs=installs)) == mean


def test_configuring_shows_the_provisioning_state_in_parentheses() -> None:
    state = "Update successful, rebooting"
    inputs = WELL._replace(provisioning_progress=100, provisioning_state=state)
    status = overall_status(inputs)
    assert display(status, inputs) == "Configuring (Update successful, rebooting)"


def test_no_more_than_fifty_characters_of_the_provisioning_state_are_shown() -> None:
    inputs = WELL._replace(provisioning_progress=1, provisioning_state="x" * 255)
    assert display(OverallStatus.CONFIGURING, inputs) == f"Configuring ({'x' * 50})"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("frozen", "Frozen"),
        ("inactive", "Inactive"),
        ("post-provisioning", "Post Provisioning"),
        ("configuring", "Configuring"),
        ("disconnected", "Disconnected"),
        ("updating", "Updating"),
        ("reduced-functionality", "Reduced Functionality"),
        ("operational", "Operational"),
    ],
)
def test_every_status_has_the_words_of_the_document(status: str, words: str) -> None:
    assert display(OverallStatus(status), WELL) == words


@pytest.mark.parametrize(
    ("vpn", "heartbeat", "disabled", "label"),
    [
        (True, ONLINE, False, ""),
        (False, ONLINE, False, "Heartbeat Only"),
        (False, ONLINE, True, ""),
        (True, TIMEOUT, False, "Cloudlink Only"),
        (True, OFFLINE, False, "Cloudlink Only"),
        (True, UNKNOWN, False, "Cloudlink Only"),
        (False, TIMEOUT, False, ""),
        (False, OFFLINE, False, ""),
    ],
)
def test_the_connectivity_label_names_the_link_that_works_alone(
    vpn: bool, heartbeat: HeartbeatState, disabled: bool, label: str
) -> None:
    inputs = StatusInputs(heartbeat=heartbeat, is_connected_to_vpn=vpn, vpn_disabled=disabled)
    assert connectivity(inputs) == label


def test_of_several_releases_the_first_update_status_in_precedence_wins() -> None:
    values = [status.value for status in UpdateStatus]
    assert values == [
        "rejected",
        "aborted",
        "downloading",
        "downloaded",
        "applying changes",
        "done",
    ]
    for position in range(len(values)):
        assert first_update_status(list(reversed(values[position:]))) == values[position]
    assert first_update_status([]) is None


def test_update_statuses_are_shown_with_capitals() -> None:
    assert update_status_display("applying changes") == "Applying Changes"
    assert update_status_display("done") == "Done"
    assert update_status_display(None) == ""


def test_the_duration_counts_from_the_last_event() -> None:
    assert update_status_duration_ms(1_000, 61_000) == 60_000
    assert update_status_duration_ms(None, 61_000) is None


def test_a_device_of_which_nothing_is_known_is_configuring() -> None:
    assert overall_status(StatusInputs()) is OverallStatus.CONFIGURING


def test_a_flashed_device_keeps_its_progress_when_it_is_gone() -> None:
    gone = {"provisioning_state": "Post-Provisioning", "provisioning_progress": 100}
    inputs = WELL._replace(is_connected_to_vpn=False, heartbeat=OFFLINE, **gone)
    assert overall_progress(inputs) == 100


def test_an_image_without_progress_counts_as_a_hundred() -> None:
    installs = (downloading(41), Install("Downloaded", None, of_target=True))
    assert overall_progress(WELL._replace(installs=installs)) == 71  # 70.5


def test_an_image_that_was_downloaded_for_another_release_does_not_count() -> None:
    installs = (downloading(40), Install("Downloaded", None, of_target=False))
    assert overall_progress(WELL._replace(installs=installs)) == 40


def test_an_image_of_the_target_counts_in_whatever_state() -> None:
    installs = (downloading(40), Install("exited", None, of_target=True))
    assert overall_progress(WELL._replace(installs=installs)) == 70


def test_a_negative_half_percent_is_rounded_away_from_zero() -> None:
    installs = (downloading(-10), downloading(-21))
    assert overall_progress(WELL._replace(installs=installs)) == -16


def test_words_of_devices_count_by_their_letters() -> None:
    said = "downloading".title()  # equal to the constant, not the same object
    assert overall_status(WELL._replace(status=said, download_progress=1)) == "updating"
    installs = (Install(said, 40, of_target=False),)
    assert overall_status(WELL._replace(installs=installs)) == "updating"
    assert overall_progress(WELL._replace(installs=installs)) == 40
    flashed = "post-provisioning".title()
    inputs = StatusInputs(provisioning_state=flashed, provisioning_progress=3, ever_connected=True)
    assert overall_progress(inputs) == 3


@pytest.mark.parametrize("status", sorted(set(OverallStatus) - {OverallStatus.CONFIGURING}))
def test_only_configuring_shows_the_provisioning_state(status: OverallStatus) -> None:
    inputs = WELL._replace(provisioning_state="Some text")
    assert "Some text" not in display(status, inputs)
