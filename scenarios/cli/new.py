"""``fieldbeat new``: a scenario file to begin with."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ..errors import InputError
from .inputs import SUFFIX, save

TEMPLATE = """\
# yaml-language-server: $schema={schema}
scenario: {title}
about: What happens at the site, and what nobody should be surprised by.
tags: [site]

timeline:
  - {{at: 0s, do: power_on}}
  - {{at: 1h, do: network, state: down, id: down}}
  - {{at: 2h, do: network, state: up, id: up}}
  - {{at: 3h, do: end}}

expect:
  - eventually: {{overall_status: operational}}
    after: power_on
    within: 2m
  - eventually: {{overall_status: disconnected}}
    after: down
    within: heartbeat_window + heartbeat_timeout
  - eventually: {{overall_status: operational}}
    after: up
    within: poll_interval + 1m
"""
_MODELINE = re.compile(r"^# yaml-language-server:.*\n")


@click.command()
@click.argument("name")
@click.option(
    "--from", "source", metavar="NAME", help="Begin with this scenario of the library instead."
)
def new(name: str, source: str | None) -> None:
    """Begin a scenario file from a template: fieldbeat new "Night outage".

    NAME is the scenario's name, or the path of its file.  Beside it comes scenario.schema.json,
    from which editors complete and check what is written.  Nothing that is there is overwritten.
    """
    from ..file_schema import FILE_NAME, schema_text

    path = Path(name if name.endswith(SUFFIX) else f"{_slug(name)}{SUFFIX}")
    if path.exists():
        raise InputError("the file is there already", path, hint="choose another name")
    title = path.name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else name
    text = TEMPLATE.format(schema=FILE_NAME, title=_quoted(title))
    if source is not None:
        text = _copy(source, title)
    schema = path.parent / FILE_NAME
    if not schema.exists():
        save(schema, schema_text())
    save(path, text)
    click.echo(f"{path}: made; try\n  fieldbeat check {path}\n  fieldbeat run {path}")


def _copy(source: str, title: str) -> str:
    """A scenario of the library under another name."""
    from ..file_schema import FILE_NAME
    from ..yaml_text import read_text
    from .catalogue import find

    text = _MODELINE.sub("", read_text(find(source)))
    text = re.sub(
        r"^scenario:.*$", lambda _: f"scenario: {_quoted(title)}", text, flags=re.MULTILINE
    )
    return f"# yaml-language-server: $schema={FILE_NAME}\n{text}"


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not slug:
        raise InputError(f"{name!r} is no name", hint='fieldbeat new "Night outage"')
    return slug


def _quoted(title: str) -> str:
    """As a YAML scalar."""
    plain = re.fullmatch(r"[A-Za-z][\w ,.()/-]*", title) and title.strip() == title
    return title if plain else '"' + title.replace("\\", "\\\\").replace('"', '\\"') + '"'
