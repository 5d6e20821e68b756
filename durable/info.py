"""What a run knows about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """The names of a run, which its history does not hold.

    Attributes:
        workflow_id: chosen by the user.
        run_id: this execution.
        workflow: name of the definition.
        origin_id: what idempotency keys derive from (rule K7).
        first_run_id: the first run of a chain of continue-as-new.
        parent_run_id: who started it, if it is a child.
        attempt: 1, and one more for every retry of the run.
    """

    workflow_id: str
    run_id: str
    workflow: str
    origin_id: str
    first_run_id: str
    parent_run_id: str | None = None
    attempt: int = 1
