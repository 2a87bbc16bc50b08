"""``fieldbeat schema``: the JSON Schema of scenario files, for editors."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of scenario files, for completion and checks in editors."""
    from ..file_schema import file_schema

    click.echo(json.dumps(file_schema(), indent=2, ensure_ascii=False))
