"""The ``fieldbeat`` command; its commands live in ``cli`` and are imported when they are used."""

from __future__ import annotations

from .cli.group import fieldbeat


def main() -> None:
    """Entry point of the console script."""
    fieldbeat(prog_name="fieldbeat")


if __name__ == "__main__":
    main()
