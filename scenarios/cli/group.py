"""The group of commands: lazy imports, and every error as one readable line with its exit status.

0: all expectations held; 1: some did not; 2: the input or the usage is wrong; 3: the lab could not
be set up; 70: a fault of fieldbeat itself; 130: interrupted; 141: the output's reader has left.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Any

import click

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_LAB = 3
EXIT_FAULT = 70
EXIT_INTERRUPTED = 130
"""As shells have it for an interrupted program."""
EXIT_READER_LEFT = 141
"""As shells have it for a program that SIGPIPE ended: ``fieldbeat list | head``."""

COMMANDS = {
    "run": ("run:run", "Run scenarios and judge their expectations."),
    "check": ("check:check", "Validate scenario files; print every mistake."),
    "new": ("new:new", "Begin a scenario file from a template."),
    "fmt": ("fmt:fmt", "Bring scenario files into one shape."),
    "list": ("catalogue:list_", "List scenarios."),
    "explain": ("catalogue:explain", "Tell what a scenario does and what it pins."),
    "coverage": (
        "coverage:coverage",
        "Show which sentences of the specification scenarios pin.",
    ),
    "diff": ("diff:diff", "Compare the virtual lab with the host lab."),
    "replay": ("recordings:replay", "Hold the cloud core against recorded traces."),
    "truth-table": ("recordings:truth_table", "Hold the status rules against recorded rows."),
    "cloud": ("cloud:cloud", "Serve balena's API: the stub cloud as a server."),
    "agent": ("agent:agent", "Be a device: the simulated supervisor in real time."),
    "schema": ("schema:schema", "Print the JSON Schema of scenario files."),
    "bench": ("bench:bench", "Measure speed and memory."),
}
"""Command → where it lives in this package, and what it does in a line."""


class LazyGroup(click.Group):
    """Imports a command when it is used, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The commands in the order people meet them."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(f".{module}", __package__), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest one for a misspelt name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from ..durations import suggest

            hint = suggest(args[0], COMMANDS) if args else None
            if hint is None:
                raise
            raise click.UsageError(f"No such command '{args[0]}', {hint}", ctx=ctx) from error

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; every error becomes a line and an exit status."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException):
            raise
        except (KeyboardInterrupt, click.Abort):
            # not 1, which says that an expectation did not hold
            click.echo("interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                # what is left in buffers goes nowhere; not 1, which says something of the fleet
                sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  # until the process ends
                ctx.exit(EXIT_READER_LEFT)
            if os.environ.get("FIELDBEAT_TRACEBACK"):
                raise
            status, text = _told(error)
            click.echo(text, err=True)
            ctx.exit(status)


def _told(error: Exception) -> tuple[int, str]:
    """The exit status and the words for an error."""
    from ..errors import InputError, InputErrors, LabError

    if isinstance(error, InputErrors | InputError):
        return EXIT_INPUT, str(error)
    if isinstance(error, LabError):
        return EXIT_LAB, f"lab: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return EXIT_INPUT, f"the output cannot be written: {(error.strerror or '').lower()}"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return EXIT_FAULT, (
        f"fieldbeat itself failed: {what}\n"
        "Please report it with the file and the output of FIELDBEAT_TRACEBACK=1 fieldbeat …"
    )


def _version(ctx: click.Context) -> None:
    """Print the installed version; a checkout that is not installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"fieldbeat {version('fieldbeat')}")
    except PackageNotFoundError:
        click.echo("fieldbeat (not installed)")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, wanted: _version(ctx) if wanted else None,
    help="Show the version and exit.",
)
def fieldbeat() -> None:
    """See which statuses the cloud reports for balena-style devices, and when.

    A scenario file says what happens to the devices (the firewall blocks the VPN, the power fails,
    an update lock is held) and what the cloud must report; fieldbeat runs it and judges.
    """
