"""The reference of scenario files as Markdown, made from the models that check them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from cloud_stub.observe import FIELDS, SERVICE_PREFIX
from cloud_stub.settings import CloudSettings, VpnSettings

from .durations import human
from .fields import choices_of, kind_of
from .language import VERBS
from .measures import KINDS as MEASURES
from .model import LinkSpec
from .names import product_names
from .sections import (
    CloudSection,
    ExpectLine,
    FleetSection,
    Head,
    LinksSection,
    RepeatHead,
    StepHead,
)
from .verbs import OsUpdateStep, ReleaseService, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

VALUE_KINDS = {
    "text": "text",
    "flag": "`true` or `false`",
    "number": "a number or `null`",
    "moment": "milliseconds from the start, or `null`",
}


def reference() -> str:
    """The whole page; it ends with a line feed."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Scenario files"
    yield ""
    yield "Printed by `fieldbeat schema --markdown`; the JSON Schema by `fieldbeat schema`."
    sections: tuple[tuple[str, type[BaseModel], str], ...] = (
        (
            "The file",
            Head,
            "Besides `cloud`, `fleet` or `fleets`, `groups`, `links`, `timeline` and `expect`:",
        ),
        ("cloud", CloudSection, "Silent: the real cloud's values."),
        ("fleet", FleetSection, "Silent: one preregistered device with `r1` preloaded."),
        ("links", LinksSection, "What lies between the devices and the cloud."),
        ("timeline: every step", StepHead, "Beside the verb in `do` and its parameters:"),
        ("timeline: steps repeated together", RepeatHead, "A line with `steps` instead of `do`:"),
    )
    for title, model, intro in sections:
        yield from ("", f"## {title}", "", intro, "")
        yield from _table(model)
    yield from ("", "## timeline: verbs")
    for verb, action in VERBS.items():
        yield from ("", f"### {verb}", "", _sentence(action.__doc__ or ""), "")
        yield from _table(action)
    for title, part in (
        ("services of a release", ReleaseService),
        ("steps of os_update", OsUpdateStep),
    ):
        yield from ("", f"### {title}", "")
        yield from _table(part)
    yield from ("", "## expect", "", "Windows are closed at both ends.", "")
    yield from _table(ExpectLine)
    yield from ("", "## Measures", "")
    yield "`measure: <measure> <comparison> <bound>`, with `<`, `<=`, `>`, `>=` or `==`; the bound"
    yield "is a number, a size (`1 MB`), a duration, or a share of the window (`95%`)."
    yield "`total(…)` sums a measure over the devices meant."
    yield ""
    yield "Both labs count traffic at the API: a request when it gets there, answered or not; the"
    yield "bytes of whole HTTP messages when they arrive, without TLS, cloudlink's packets and log"
    yield "streams. A heartbeat of a uuid that two devices have is the first one's. What the host"
    yield "lab's programs say besides is in [hostlab.md](hostlab.md#traffic)."
    yield from ("", "| measure | compared with | meaning |", "|---|---|---|")
    for name, measure in MEASURES.items():
        arguments = "(field, value, …)" if measure.of_values else "(field)" * measure.of_field
        bound = {"time": "a duration", "bytes": "a size"}.get(measure.unit, "a number")
        bound += " or a share" if measure.unit == "time" else ""
        yield f"| `{name}{arguments}` | {bound} | {measure.about} |"
    yield from ("", "## Fields of a device", "", "| field | values |", "|---|---|")
    for name in (*FIELDS, f"{SERVICE_PREFIX}<name>"):
        choices = choices_of(name)
        told = ", ".join(f"`{_word(value)}`" for value in choices) if choices else ""
        yield f"| `{name}` | {told or VALUE_KINDS[kind_of(name)]} |"
    yield from ("", "## Names of durations", "")
    yield "Usable in every time, with `+`, `-`, `*` and parentheses: `1.5 * poll_interval + 2s`."
    yield from ("", "| name | where the file is silent |", "|---|---|")
    names = product_names(CloudSettings(), VpnSettings(), LinkSpec())
    for name, span_ms in names.items():
        yield f"| `{name}` | {human(span_ms)} |"


def _table(model: type[BaseModel]) -> Iterator[str]:
    """The keys of a model; nothing for one without."""
    rows = [
        (field.alias or name, name, field)
        for name, field in model.model_fields.items()
        if name != "do"
    ]
    if not rows:
        yield "No parameters."
        return
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for key, name, field in rows:
        values = _choices(field.annotation)
        told = f"{' / '.join(f'`{value}`' for value in values)}. " if values else ""
        meaning = _sentence(field.description or "")
        yield f"| `{key}` | {_default(name, field)} | {told}{meaning} |"


def _choices(annotation: Any) -> tuple[str, ...]:
    """The words a key can have, where they are few and known."""
    if get_origin(annotation) is Literal:
        return tuple(str(word) for word in get_args(annotation))
    found = [_choices(part) for part in get_args(annotation)]
    return next((words for words in found if words), ())


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is None or isinstance(value, dict | tuple | Verb):
        return ""
    if name.endswith("_ms"):
        return f"`{human(value)}`"
    return f"`{_word(value)}`"


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) or "''"


def _sentence(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")
