"""What a run knows about itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from durable.duration import to_instant

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer

SUGGESTED_HISTORY_EVENTS: Final = 10_000
"""From this many events on, ``ctx.info.continue_as_new_suggested`` is true."""


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


class RunInfo:
    """What a run knows about itself: ids, attempt, size of its history."""

    __slots__ = ("_run",)

    def __init__(self, run: Replayer) -> None:
        self._run = run

    def __repr__(self) -> str:
        identity = self._run.identity
        return f"<run {identity.run_id} of workflow {identity.workflow!r} ({identity.workflow_id})>"

    @property
    def workflow_id(self) -> str:
        """The id chosen by the user."""
        return self._run.identity.workflow_id

    @property
    def run_id(self) -> str:
        """This execution."""
        return self._run.identity.run_id

    @property
    def first_run_id(self) -> str:
        """The first run of a chain of continue-as-new."""
        return self._run.identity.first_run_id

    @property
    def parent_run_id(self) -> str | None:
        """Who started it, if it is a child."""
        return self._run.identity.parent_run_id

    @property
    def workflow(self) -> str:
        """Name of the definition."""
        return self._run.definition.name

    @property
    def attempt(self) -> int:
        """1, and one more for every retry of the run."""
        return self._run.attempt

    @property
    def started_at(self) -> datetime:
        """When the first turn began, UTC."""
        return to_instant(self._run.started_us)

    @property
    def history_events(self) -> int:
        """Events up to the batch before this one."""
        return self._run.events_before

    @property
    def continue_as_new_suggested(self) -> bool:
        """Whether the history is so long that a fresh one would help."""
        return self._run.events_before >= SUGGESTED_HISTORY_EVENTS

    @property
    def cancel_reason(self) -> str | None:
        """Why the run is being cancelled; '' if no reason was given, None if it is not."""
        return self._run.cancel_reason

    @property
    def is_replaying(self) -> bool:
        """Whether recorded results are being fed; only for logs and metrics, never for decisions."""
        return self._run.is_replaying
