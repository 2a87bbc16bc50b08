"""Where the real supervisor differs from its documentation: one row, one name, one source each."""

from __future__ import annotations

from enum import Enum


class Quirk(Enum):
    """A difference; the value is its source in ``SUPERVISOR.md``."""

    RETRY_AFTER_AS_MILLISECONDS = "§2: Retry-After seconds are slept as milliseconds"
    HANDOVER_DOES_NOT_WAIT = "§5: waitToKill resolves at once"
    HANDOVER_IGNORES_LOCKS = "§5: hand-over neither takes nor checks update locks"
    UNSOLICITED_304_IS_AN_ERROR = "§1: 304 without a cached ETag takes the error path"
    APPLYING_CHANGES_SELDOM_SAID = "§2: old containers stop under downloaded, new start under done"
    RELEASE_UUID_AFTER_SETTLING = "§2: release_uuid changes a loop after done, a report may miss it"


DOCUMENTED: frozenset[Quirk] = frozenset()
SUPERVISOR_19: frozenset[Quirk] = frozenset(Quirk)

BEHAVIOURS: dict[str, frozenset[Quirk]] = {
    "documented": DOCUMENTED,
    "supervisor-19": SUPERVISOR_19,
}
