"""What all groups of options have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of options; unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
