"""A run that this worker holds: its row, its replayer while it is in memory, what waits for its next turn, what is in flight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from durable.handle import RollbackStatus, RunStatus
from durable.history import Fact
from durable.kernel.replayer import Replayer
from runtime.store.reason import with_halt
from runtime.store.row import AttemptRow, InboxRow, RunRow
from runtime.store.turn import RunChange

if TYPE_CHECKING:
    from runtime.worker.execution import Execution


@dataclass(slots=True, eq=False)
class HeldRun:
    """One run of this worker.

    Attributes:
        row: as last claimed.
        seq, epoch: what the next commit expects to find.
        replayer: None while the run is not in memory.
        facts: outcomes of this worker's own steps, for the next turn.
        inbox: rows to apply, for the next turn.
        records: attempts to record with the next turn, and what to do once they are durable.
        executions: steps in flight here, by command number.
        step_limits: when limits of steps that were handed over may be reached, by command number.
        set_aside: the run's row while it is paused or stuck: outcomes go to the store's inbox instead of being applied.
        is_busy: it is being loaded, or its turn committed.
        is_dirty: it is in the queue for a turn.
        is_ours: false once a commit conflicted.
        is_closed: the run has ended.
        recovers: it was just taken, so its open steps have to be taken up.
        is_counted: the loss of the worker before is accounted for.
        wants_turn: something changed that the store must hear of, though no fact came.
        wants_inbox: rows came while it was busy.
    """

    row: RunRow
    seq: int
    epoch: int
    replayer: Replayer | None = None
    facts: list[Fact] = field(default_factory=list)
    inbox: list[InboxRow] = field(default_factory=list)
    records: list[tuple[AttemptRow, Callable[[], None]]] = field(default_factory=list)
    executions: dict[int, Execution] = field(default_factory=dict)
    step_limits: dict[int, int] = field(default_factory=dict)
    set_aside: RunChange | None = None
    is_busy: bool = False
    is_dirty: bool = False
    is_ours: bool = True
    is_closed: bool = False
    recovers: bool = False
    is_counted: bool = False
    wants_turn: bool = False
    wants_inbox: bool = False

    def take_due_limits(self, now_us: int) -> bool:
        """Forget the limits that are due; whether there were any."""
        due = [number for number, at_us in self.step_limits.items() if at_us <= now_us]
        for number in due:
            del self.step_limits[number]
        return bool(due)

    def next_limit_us(self) -> int | None:
        """The earliest limit of a step that is still open."""
        assert self.replayer is not None
        return min((at_us for number, at_us in self.step_limits.items() if number in self.replayer.open), default=None)

    def stuck(self, why: str, code: str | None) -> RunChange:
        """The row of the run, when its code or its worker keeps it from going on.

        Terminal states are final (rule H7): of a closed run it is the rollback that failed, and it may be ordered once more.

        Args:
            code: fingerprint of the code that it is stuck on.
        """
        row = self.row
        if not self.is_closed:
            return RunChange(RunStatus.STUCK, row.rollback, reason=why, code=code)
        if row.rollback in (RollbackStatus.RUNNING, RollbackStatus.FAILED):
            return RunChange(row.status, RollbackStatus.FAILED, reason=with_halt(row.reason, why))
        return RunChange(row.status, row.rollback, reason=row.reason)
