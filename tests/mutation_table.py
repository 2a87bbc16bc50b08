"""The table of taken-away behaviours in docs/mutation.md, made from the lists of the tests.

Print it with ``python -m tests.mutation_table``.
"""

from __future__ import annotations

from tests.scenarios import test_mutations, test_mutations_field

HEADING = "## Behaviours taken away"


def mutation_table() -> str:
    """The rows in the lists' order; it ends with a line feed."""
    rows = [*test_mutations.MUTATIONS, *test_mutations_field.MUTATIONS]
    lines = [f"| {behaviour} | `{name}` |" for name, behaviour, _ in rows]
    return "\n".join(["| Without: | this no longer holds |", "| --- | --- |", *lines]) + "\n"


if __name__ == "__main__":
    print(mutation_table(), end="")
