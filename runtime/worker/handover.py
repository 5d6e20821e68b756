"""Steps that were handed over: somebody else completes them, and here only their limits are watched (semantics 31).

Who works on such a step reports to the store, from wherever they are; so when the heartbeat limit may be reached, the
store is asked when they reported last. Until then nothing of the step is in flight, and its run may be parked: it wants
a worker again when the limit is due (rule D5).
"""

from __future__ import annotations

from durable.duration import optional_us
from runtime.clock import Clock
from runtime.store.row import AttemptOutcome
from runtime.worker.execution import Execution
from runtime.worker.host import StepHost
from runtime.worker.sleeper import Sleepers
from runtime.worker.stepstore import StepStore
from runtime.worker.verdict import Verdicts


class Handovers:
    """Watches steps that others complete."""

    def __init__(self, host: StepHost, store: StepStore, clock: Clock, sleepers: Sleepers, verdicts: Verdicts) -> None:
        self._host = host
        self._store = store
        self._clock = clock
        self._sleepers = sleepers
        self._verdicts = verdicts

    def begin(self, execution: Execution) -> None:
        """The attempt handed its step over: put that on record, then watch."""
        if not execution.is_open:
            return  # who completes it was faster
        row = self._verdicts.row(execution, AttemptOutcome.HANDED_OVER)
        self._host.record_attempt(execution, row, lambda: self.watch(execution) if execution.is_open else None)

    def watch(self, execution: Execution) -> None:
        """Look whether a limit is reached; if none is, the step needs nobody here before the next one."""
        execution.heard_at_us = max(execution.heard_at_us, execution.started_at_us)
        number = execution.command.number or 0
        execution.held.executions[number] = execution
        limit_at_us = execution.next_limit_at_us()
        if execution.cancel_requested:
            self._verdicts.cancelled(execution)
        elif limit_at_us is not None and limit_at_us <= self._clock.now_us():
            self._look_after(execution)
        else:
            del execution.held.executions[number]
            self._host.step_handed_over(execution, limit_at_us)

    def _look_after(self, execution: Execution) -> None:
        """A limit may be reached."""
        limit = execution.limit_us(execution.started_at_us)
        now_us = self._clock.now_us()
        if limit is not None and now_us >= execution.started_at_us + limit[0]:
            execution.reach_limit(limit[1], limit[0])
            self._verdicts.timed_out(execution)
        else:
            self._store.read_heartbeat(execution, lambda beat: self._heard(execution, beat, now_us))

    def _heard(self, execution: Execution, beat: tuple[int, str | None] | None, asked_at_us: int) -> None:
        if not execution.is_open:
            return  # it was cancelled while the store was asked
        if beat is not None:
            execution.heard_at_us, execution.heartbeat = max(execution.heard_at_us, beat[0]), beat[1]
        limit_us = optional_us(execution.command.definition.options_.heartbeat_timeout, "heartbeat_timeout")
        if (
            limit_us is not None and asked_at_us >= execution.heard_at_us + limit_us
        ):  # the answer knows of nothing later
            execution.reach_limit("heartbeat_timeout", limit_us)
            self._verdicts.timed_out(execution)
        else:
            self.watch(execution)
