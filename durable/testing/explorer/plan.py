"""Which schedules are worth trying, read off the run that nobody disturbed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from durable.kernel.people import APPROVAL
from durable.testing.execution import Execution
from durable.testing.explorer.schedule import Cancellation, Fault, FaultKind, Schedule
from durable.testing.explorer.trial import Trial


def crashes(reference: Trial) -> list[Schedule]:
    """A crash at every crash point."""
    return [replace(reference.schedule, crash=number) for number in range(1, len(reference.interference.points) + 1)]


def crashes_in_rollback(reference: Trial) -> list[Schedule]:
    """A crash at every crash point while the run is rolled back."""
    points = enumerate(reference.interference.points, 1)
    return [replace(reference.schedule, crash=number) for number, passed in points if passed.undoes]


def cancellations(reference: Trial) -> list[Schedule]:
    """A request to cancel after every turn but the last, which ends the run: alone, and beside what is ready."""
    turns = range(1, reference.interference.turns)
    return [Schedule(cancellation=Cancellation(turn, is_alone)) for turn in turns for is_alone in (True, False)]


def faults(reference: Trial) -> Iterator[Schedule]:
    """Everything that can happen to each step and each question."""
    seen = reference.interference
    for (run, command), execution in seen.executions.items():
        for kind in _faults_of_step(execution):
            yield Schedule(fault=Fault(run, command, kind))
    for (run, command), question in seen.questions.items():
        if question.question == APPROVAL:
            yield Schedule(fault=Fault(run, command, FaultKind.REJECTED))
        if question.deadline_us is not None:
            yield Schedule(fault=Fault(run, command, FaultKind.UNANSWERED))


def _faults_of_step(execution: Execution) -> Iterator[FaultKind]:
    options, limit = execution.command.definition.options_, execution.policy.max_attempts
    if options.delivery == "at_most_once":
        yield FaultKind.IN_DOUBT
    if limit != 1:
        yield FaultKind.FAILS_ONCE
    has_limit = (options.timeout, options.total_timeout, options.heartbeat_timeout) != (None, None, None)
    gives_up = limit is not None or options.total_timeout is not None
    if execution.command.compensates is not None or not gives_up:
        return  # a compensation that never works cannot be rolled back, and a step that is tried without end has no end
    yield FaultKind.FAILS
    if has_limit:
        yield FaultKind.TIMES_OUT


class Orders:
    """The orders of what happens: those with the fewest deviations from the order of arrival first, then random ones.

    Source: the bound on deviations is that of delay-bounded scheduling (Emmi, Qadeer, Rakamaric 2011).
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[int, ...]] = deque([()])
        self._seen: set[tuple[int, ...]] = set()

    def next(self) -> Schedule | None:
        """The next order that nobody has tried; None: these were all."""
        return Schedule(order=self._queue.popleft()) if self._queue else None

    def learn(self, trial: Trial) -> bool:
        """Take in which choices there were; False if this very order was seen before."""
        choices = trial.interference.choices
        taken = tuple(chosen for chosen, _ in choices)
        if taken in self._seen:
            return False
        self._seen.add(taken)
        prefix = len(trial.schedule.order or ())
        for position in range(prefix, len(choices)):
            for other in range(1, choices[position][1]):
                self._queue.append((*taken[:position], other))
        return True

    @property
    def waiting(self) -> int:
        """How many orders are known and were not tried."""
        return len(self._queue)


def sample(schedules: Sequence[Schedule], limit: int, chance: random.Random) -> list[Schedule]:
    """At most so many of them, in their order."""
    if len(schedules) <= limit:
        return list(schedules)
    return [schedules[index] for index in sorted(chance.sample(range(len(schedules)), max(limit, 0)))]
