"""How a change comes to machines that run."""

from typing import Annotated

from pydantic import Field

from coordinator.spec.model import SpecModel


class Rollout(SpecModel):
    """How a published change comes to machines that run."""

    bake_seconds: Annotated[int, Field(ge=0, le=86400)] = 300
    """Seconds from the opening of a wave to that of the next, at least. `coordinator publish --emergency` shortens it
    to 30."""
    deadline_seconds: Annotated[int, Field(ge=120, le=86400)] = 1800
    """Seconds from the opening of a wave after which a machine that has said nothing counts as failed."""
    auto_rollback: bool = False
    """Over its budget of failures a rollout is halted, and a person decides. With `true` the candidate is taken back
    at once, and every machine returns to the manifest of before."""
