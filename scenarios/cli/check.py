"""``fieldbeat check``: validate scenario files without running them."""

from __future__ import annotations

import click

from ..errors import InputError, InputErrors
from .group import EXIT_INPUT
from .inputs import files


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("-q", "--quiet", is_flag=True, help="Print mistakes and nothing else.")
@click.pass_context
def check(ctx: click.Context, paths: tuple[str, ...], quiet: bool) -> None:
    """Validate scenario files; print every mistake with its place and a remedy.

    Hints are no mistakes. Exit status: 0 no mistake, 2 some.
    """
    from ..compile import compile_variants
    from ..spec import sentences, unknown_sentences

    mistakes = 0
    found = files(paths)
    for path in found:
        try:
            scenarios = compile_variants(path)
        except (InputError, InputErrors) as error:
            mistakes += len(error.errors) if isinstance(error, InputErrors) else 1
            click.echo(str(error), err=True)
            continue
        for unknown in () if quiet else unknown_sentences(path, sentences()):
            click.echo(f"hint: {unknown}")
        hints = dict.fromkeys(hint for scenario in scenarios for hint in scenario.hints)
        for hint in () if quiet else hints:
            click.echo(f"{path}: hint: {hint}")
    if mistakes:
        many = "1 mistake" if mistakes == 1 else f"{mistakes} mistakes"
        click.echo(f"{many} in {len(found)} file{'s' if len(found) != 1 else ''}", err=True)
        ctx.exit(EXIT_INPUT)
    if not quiet:
        click.echo(f"{len(found)} file{'s' if len(found) != 1 else ''}: no mistake")
