"""What those who run steps ask of the one they run them for: the engine for its own runs, the task server for others'."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from durable.history import Fact
from runtime.store.row import AttemptRow

if TYPE_CHECKING:
    from runtime.worker.execution import Execution


class StepHost(Protocol):
    """The engine or the task server, as the runner sees it."""

    @property
    def worker_id(self) -> str:
        """Who runs the attempts."""
        ...

    def step_ended(self, execution: Execution, fact: Fact) -> None:
        """A step has its outcome."""
        ...

    def step_handed_over(self, execution: Execution, limit_at_us: int | None) -> None:
        """Somebody else completes the step; nothing of it is in flight here, before a limit may be reached."""
        ...

    def record_attempt(self, execution: Execution, row: AttemptRow, then: Callable[[], None]) -> None:
        """Make a record of an attempt durable, then go on; not at all if the run was lost meanwhile."""
        ...

    def may_start(self) -> bool:
        """Whether the lease is fresh enough to start an effect."""
        ...
