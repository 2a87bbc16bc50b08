"""``fieldbeat fmt``: scenario files in one shape."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import InputError, InputErrors
from .group import EXIT_FAILED
from .inputs import files, save


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if something would change.")
@click.pass_context
def fmt(ctx: click.Context, paths: tuple[str, ...], check: bool) -> None:
    """Bring scenario files into one shape; comments stay.

    PATH is a file or a folder; - reads standard input and writes standard output.  A file that
    cannot be read stays as it is, and so does every other then.
    """
    from ..fmt import formatted
    from ..yaml_text import read_text

    if paths == ("-",):
        text = sys.stdin.read()
        after = formatted(text, Path("standard input"))
        click.echo(after, nl=False)
        if check and after != text:
            ctx.exit(EXIT_FAILED)
        return
    changed: list[tuple[Path, str]] = []
    errors: list[InputError] = []
    found = files(paths)
    for path in found:
        try:
            text = read_text(path)
            after = formatted(text, path)
        except InputError as error:
            errors.append(error)
            continue
        if after != text:
            changed.append((path, after))
    if errors:
        raise InputErrors(errors)
    for path, after in changed:
        if not check:
            save(path, after)
        click.echo(f"{path}: {'would change' if check else 'changed'}")
    click.echo(f"{len(found)} files, {len(changed)} {'to change' if check else 'changed'}")
    if check and changed:
        ctx.exit(EXIT_FAILED)
