"""What every verb shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Verb(BaseModel):
    """What all verbs share: values are frozen and unknown parameters are mistakes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )

    def needs_one_of(self, *names: str) -> None:
        """Refuse a step that says nothing."""
        if all(getattr(self, name) is None for name in names):
            words = [type(self).model_fields[name].alias or name for name in names]
            raise ValueError(f"say at least one of {', '.join(words)}")
