"""The ladder over every combination of its inputs, against an independent table of the rules."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_stub.status import (
    HeartbeatState,
    Install,
    OverallStatus,
    StatusInputs,
    connectivity,
    display,
    overall_progress,
    overall_status,
)

if TYPE_CHECKING:
    from cloud_stub.settings import Profile

ON, LATE = HeartbeatState.ONLINE, HeartbeatState.TIMEOUT
OFF, NEVER = HeartbeatState.OFFLINE, HeartbeatState.UNKNOWN
PROFILES: tuple[Profile, ...] = ("balena-cloud", "open-balena")

INSTALLS = (
    (),
    (Install("Downloading", 40, True),),
    (Install("Downloading", None, True),),
    (Install("Downloading", 41, False), Install("Running", None, True)),
    (Install("Downloaded", 100, True), Install("deleted", None, False)),
)
DOMAIN = {
    "heartbeat": (ON, LATE, OFF, NEVER),
    "is_connected_to_vpn": (False, True),
    "ever_connected": (False, True),
    "vpn_disabled": (False, True),
    "is_active": (False, True),
    "is_frozen": (False, True),
    "provisioning_state": (None, "", "Post-Provisioning", "Some text"),
    "provisioning_progress": (None, 0, 50),
    "status": (None, "Idle", "Downloading"),
    "download_progress": (None, 30),
    "installs": INSTALLS,
}


def table(i: StatusInputs, profile: Profile) -> str:
    """STATUS.md §4 said once more: condition and value, in the page's order."""
    document = profile == "balena-cloud"
    vpn, beat = i.is_connected_to_vpn, i.heartbeat
    pulls = [x for x in i.installs if x.status == "Downloading" and x.download_progress is not None]
    partial = {
        (True, ON): False,
        (True, LATE): True,
        (True, OFF): True,
        (True, NEVER): True,
        (False, ON): not i.vpn_disabled,
        (False, LATE): True,
        (False, OFF): False,
        (False, NEVER): False,
    }
    rows = [
        (document and i.is_frozen, "frozen"),
        (document and not i.is_active, "inactive"),
        (i.provisioning_state == "Post-Provisioning", "post-provisioning"),
        (not vpn and not i.ever_connected and beat == "unknown", "configuring"),
        (not vpn and beat in ("offline", "unknown"), "disconnected"),
        (
            beat in ("online", "timeout")
            and i.download_progress is not None
            and i.status == "Downloading",
            "updating",
        ),
        (i.provisioning_progress is not None, "configuring"),
        (beat in ("online", "timeout") and len(pulls) > 0, "updating"),
        (partial[vpn, beat], "reduced-functionality"),
        (True, "operational"),
    ]
    return [value for holds, value in rows if holds][0]  # noqa: RUF015  # first match, as written


@pytest.mark.parametrize("profile", PROFILES)
def test_every_combination_has_the_status_of_the_first_row_that_holds(profile: Profile) -> None:
    seen = set()
    for values in product(*DOMAIN.values()):
        inputs = StatusInputs(*values)
        status = overall_status(inputs, profile)
        assert status.value == table(inputs, profile), inputs
        seen.add(status)
        overall_progress(inputs, profile)
    everything = set(OverallStatus)
    document = {OverallStatus.FROZEN, OverallStatus.INACTIVE}
    assert seen == (everything if profile == "balena-cloud" else everything - document)


texts = st.none() | st.text(max_size=60)
numbers = st.none() | st.integers(-300, 300)
installs = st.lists(
    st.builds(
        Install,
        st.sampled_from(("Downloading", "Downloaded", "deleted", "Running")) | st.text(max_size=5),
        numbers,
        st.booleans(),
    ),
    max_size=4,
).map(tuple)


@settings(max_examples=300)
@given(
    inputs=st.builds(
        StatusInputs,
        heartbeat=st.sampled_from(HeartbeatState),
        is_connected_to_vpn=st.booleans(),
        ever_connected=st.booleans(),
        vpn_disabled=st.booleans(),
        is_active=st.booleans(),
        is_frozen=st.booleans(),
        provisioning_state=texts,
        provisioning_progress=numbers,
        status=texts | st.just("Downloading"),
        download_progress=numbers,
        installs=installs,
    ),
    profile=st.sampled_from(PROFILES),
)
def test_the_rules_are_total(inputs: StatusInputs, profile: Profile) -> None:
    status = overall_status(inputs, profile)
    assert status.value == table(inputs, profile)
    progress = overall_progress(inputs, profile)
    assert progress is None or isinstance(progress, int)
    assert display(status, inputs)
    assert connectivity(inputs) in ("", "Heartbeat Only", "Cloudlink Only")
    if status is OverallStatus.UPDATING:
        assert progress is not None
    if status is OverallStatus.DISCONNECTED:
        assert progress is None
