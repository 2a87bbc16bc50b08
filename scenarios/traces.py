"""Reading trace files: primitive events with times, and what a real cloud showed after them.

The format is ``STATUS.md §9``.  Times of a trace are seconds from its start; here they are integer
milliseconds.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_stub.settings import CloudSettings

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELDS = (
    "overall_status",
    "overall_progress",
    "api_heartbeat_state",
    "changed_api_heartbeat_state_on__date",
    "is_online",
    "is_connected_to_vpn",
    "last_connectivity_event",
    "last_vpn_event",
    "update_status",
    "last_update_status_event",
    "status",
    "provisioning_state",
    "provisioning_progress",
    "download_progress",
    "managed_by",
)
"""What the reader sampled; ``deleted`` joins them when the device was gone."""
DATES = frozenset(
    {
        "changed_api_heartbeat_state_on__date",
        "last_connectivity_event",
        "last_vpn_event",
        "last_update_status_event",
    }
)
FLEETS = ("plain", "vpnoff", "poll")
_ARGUMENTS: dict[str, frozenset[str]] = {
    "heartbeat": frozenset(
        {"as", "if_none_match", "v", "method", "apikey_query", "config", "keep"}
    ),
    "vpn_up": frozenset({"service"}),
    "vpn_down": frozenset({"service"}),
    "patch": frozenset({"body", "raw", "as"}),
    "patch_v2": frozenset({"body", "as"}),
    "config": frozenset({"level", "name", "value"}),
    "odata_patch": frozenset({"body", "as"}),
    "read": frozenset({"select"}),
    "installs": frozenset(),
    "delete_device": frozenset(),
    "register_again": frozenset({"key"}),
    "wait_for": frozenset({"field", "value", "limit"}),
    "end": frozenset(),
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "patch": ("body",),
    "patch_v2": ("body",),
    "config": ("level", "name", "value"),
    "odata_patch": ("body",),
    "read": ("select",),
    "wait_for": ("field", "value"),
}
CALLERS = ("device", "user", "provisioning", "vpn", "bogus", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceStep:
    """One primitive event and what was answered."""

    number: int
    at_ms: int
    done_ms: int
    """When it was answered: an effect is stored shortly before."""
    action: str
    args: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def name(self) -> str:
        """How the file's reader finds it."""
        return f"steps[{self.number}] {self.action}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the sampling reader saw change; dates are ms from the trace's start."""

    at_ms: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A recorded run of one device."""

    name: str
    file: Path
    settings: CloudSettings
    fleet: str
    steps: tuple[TraceStep, ...]
    samples: tuple[Sample, ...]
    """The first holds every field."""
    tolerance_ms: int

    @property
    def end_ms(self) -> int:
        """The last moment the trace speaks of."""
        ends = [step.done_ms for step in self.steps]
        return max([*ends, self.samples[-1].at_ms])


def read_trace(path: str | Path) -> Trace:
    """Read one trace.

    Raises:
        InputError: it cannot be read or is not a trace; the message names the place in it.
    """
    file = Path(path)
    return _Reader(file).trace(_load(file))


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", file) from error
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg}", file, error.lineno, error.colno) from error
    except RecursionError as error:
        raise InputError("is nested too deep for a trace", file) from error


class _Reader:
    """Takes parsed JSON apart; every mistake names its place, as ``steps[3].args``."""

    __slots__ = ("_file",)

    def __init__(self, file: Path) -> None:
        self._file = file

    def _wrong(self, place: str, wanted: str, found: Any) -> InputError:
        text = json.dumps(found)
        shown = text if len(text) <= 60 else text[:57] + "…"
        return InputError(f"{place} is {shown}", self._file, hint=f"it must be {wanted}")

    def trace(self, value: Any) -> Trace:
        whole = self._object("the trace", value)
        settings = self._object("settings", self._needed(whole, "the trace", "settings"))
        observed = self._list("observed", self._needed(whole, "the trace", "observed"))
        steps = self._list("steps", self._needed(whole, "the trace", "steps"))
        samples = tuple(self._sample(number, item) for number, item in enumerate(observed))
        if not samples:
            raise self._wrong("observed", "a list with at least the full first row", observed)
        missing = [name for name in FIELDS if name not in samples[0].values]
        if missing:
            raise InputError(
                f"observed[0] has no {missing[0]}",
                self._file,
                hint="the first entry is the full row",
            )
        name = whole.get("name", self._file.stem)
        return Trace(
            name=name if isinstance(name, str) else self._file.stem,
            file=self._file,
            settings=self._settings(settings),
            fleet=self._one_of("settings.fleet", settings.get("fleet", "plain"), FLEETS),
            steps=self._in_order(
                tuple(self._step(number, item) for number, item in enumerate(steps))
            ),
            samples=samples,
            tolerance_ms=self._ms("tolerance_s", self._needed(whole, "the trace", "tolerance_s")),
        )

    def _settings(self, given: Mapping[str, Any]) -> CloudSettings:
        usual = CloudSettings()
        profiles = ("balena-cloud", "open-balena")
        profile = self._one_of("settings.profile", given.get("profile", "open-balena"), profiles)

        def number(name: str, default: float) -> float:
            return self._number(f"settings.{name}", given.get(name, default))

        timeout_s = number("API_HEARTBEAT_STATE_TIMEOUT_SECONDS", usual.heartbeat_timeout_ms / 1e3)
        metrics_s = number("METRICS_MAX_REPORT_INTERVAL_SECONDS", usual.metrics_gap_ms / 1e3)
        progress_s = number(
            "DOWNLOAD_PROGRESS_MAX_REPORT_INTERVAL_SECONDS", usual.progress_gap_ms / 1e3
        )
        poll_ms = number("DEFAULT_SUPERVISOR_POLL_INTERVAL", usual.default_poll_interval_ms)
        factor = number("POLL_JITTER_FACTOR", usual.poll_jitter_factor_percent / 100)
        return CloudSettings(
            profile="open-balena" if profile == "open-balena" else "balena-cloud",
            default_poll_interval_ms=round(poll_ms),
            poll_jitter_factor_percent=round(factor * 100),
            heartbeat_timeout_ms=round(timeout_s * 1_000),
            metrics_gap_ms=round(metrics_s * 1_000),
            progress_gap_ms=round(progress_s * 1_000),
        )

    def _step(self, number: int, value: Any) -> TraceStep:
        place = f"steps[{number}]"
        step = self._object(place, value)
        action = self._one_of(
            f"{place}.action", self._needed(step, place, "action"), tuple(_ARGUMENTS)
        )
        args = self._object(f"{place}.args", step.get("args", {}))
        for name in args:
            self._one_of(f"an argument of {place}", name, tuple(sorted(_ARGUMENTS[action])))
        for name in _REQUIRED.get(action, ()):
            self._needed(args, f"{place}.args", name)
        self._check_args(place, args)
        result = self._object(f"{place}.result", step.get("result", {}))
        at_ms = self._ms(f"{place}.at", self._needed(step, place, "at"))
        took = step.get("took", result.get("after", 0))
        return TraceStep(
            number=number,
            at_ms=at_ms,
            done_ms=at_ms + self._ms(f"{place}.took", took),
            action=action,
            args=args,
            result=result,
        )

    def _check_args(self, place: str, args: Mapping[str, Any]) -> None:
        if "as" in args:
            self._one_of(f"{place}.args.as", args["as"], CALLERS)
        if "level" in args:
            self._one_of(f"{place}.args.level", args["level"], ("device", "fleet"))
        if "field" in args:
            self._one_of(f"{place}.args.field", args["field"], FIELDS)
        if not isinstance(args.get("value", None), str | None) and "name" in args:
            raise self._wrong(f"{place}.args.value", "text, or null to delete", args["value"])
        for name in ("name", "select", "key"):
            if not isinstance(args.get(name, ""), str):
                raise self._wrong(f"{place}.args.{name}", "text", args[name])
        if not isinstance(args.get("service", 1), int):
            raise self._wrong(f"{place}.args.service", "a whole number", args["service"])

    def _in_order(self, steps: tuple[TraceStep, ...]) -> tuple[TraceStep, ...]:
        for earlier, later in itertools.pairwise(steps):
            if later.at_ms < earlier.at_ms:
                raise InputError(
                    f"{later.name} is at {later.at_ms / 1e3} s, before {earlier.name}",
                    self._file,
                    hint="steps are in order of time",
                )
        return steps

    def _sample(self, number: int, value: Any) -> Sample:
        place = f"observed[{number}]"
        row = self._object(place, value)
        at_ms = self._ms(f"{place}.at", self._needed(row, place, "at"))
        values: dict[str, Any] = {}
        for name, item in row.items():
            if name == "at":
                continue
            self._one_of(f"a field of {place}", name, (*FIELDS, "deleted"))
            if name in DATES and item is not None:
                values[name] = self._ms(f"{place}.{name}", item)
            else:
                values[name] = item
        return Sample(at_ms=at_ms, values=values)

    # --- pieces ----------------------------------------------------------------------------------

    def _needed(self, row: Mapping[str, Any], place: str, name: str) -> Any:
        if name not in row:
            raise InputError(f"{place} has no {name!r}", self._file)
        return row[name]

    def _object(self, place: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(place, "an object", value)
        return value

    def _list(self, place: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self._wrong(place, "a list", value)
        return value

    def _one_of(self, place: str, value: Any, choices: tuple[str, ...]) -> str:
        if not isinstance(value, str) or value not in choices:
            raise self._wrong(place, f"one of {', '.join(choices)}", value)
        return value

    def _number(self, place: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(place, "a number", value)
        if not -1e12 < value < 1e12:
            raise self._wrong(place, "a number of reasonable size", value)
        return value

    def _ms(self, place: str, value: Any) -> int:
        return round(self._number(place, value) * 1_000)
