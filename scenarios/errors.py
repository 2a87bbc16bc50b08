"""What can be wrong with a person's input or with the lab: errors that become one readable line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class InputError(Exception):
    """A mistake in a file or in the usage, with its place and the remedy; exit status 2."""

    def __init__(
        self,
        message: str,
        file: object = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = None if file is None else str(file)
        self.line = line
        """Counts from 1, as ``column`` does."""
        self.column = column
        self.hint = hint

    def __str__(self) -> str:
        """``file:line:column: message (hint)``, without the parts that are not known."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}{': ' if place else ''}{self.message}" + (
            f" ({self.hint})" if self.hint else ""
        )


class InputErrors(Exception):  # noqa: N818  # the plural of InputError
    """Every mistake found in one go, in the order of the files' lines; exit status 2."""

    def __init__(self, errors: Iterable[InputError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class LabError(Exception):
    """The lab cannot be set up or cannot do a step; says what is missing; exit status 3."""
