"""``fieldbeat schema``: the JSON Schema of scenario files, for editors."""

from __future__ import annotations

import click


@click.command()
@click.option("--markdown", is_flag=True, help="A page for people instead.")
def schema(markdown: bool) -> None:
    """Print the JSON Schema of scenario files, for completion and checks in editors."""
    if markdown:
        from ..reference import reference

        click.echo(reference(), nl=False)
        return
    from ..file_schema import schema_text

    click.echo(schema_text(), nl=False)
