"""What disturbs one run: the probe that holds facts back, loses them, lets steps fail, cancels and crashes.

Facts that are held are delivered one by one, whenever nothing else can happen: the schedule says which. Messages to one run keep
their order, as those of one sender do; a message may also wait until time has moved to the next timer.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final, NamedTuple

from pydantic_core import to_json

from durable.attempt import StepInfo
from durable.commands import AskQuestion
from durable.errors import StepInDoubtError
from durable.handle import RollbackStatus
from durable.history import EventKind, Fact, write_detail
from durable.testing.crash import CrashPoint
from durable.testing.environment import WorkflowEnvironment
from durable.testing.execution import Execution
from durable.testing.explorer.coverage import Coverage, Place, place_of_command
from durable.testing.explorer.schedule import FaultKind, Schedule
from durable.testing.probe import SILENCE
from durable.testing.simulated import SimulatedRun

MESSAGES: Final = frozenset({EventKind.SIGNAL_RECEIVED, EventKind.UPDATE_ACCEPTED, EventKind.CANCEL_REQUESTED})
HELD: Final = MESSAGES | {
    EventKind.STEP_COMPLETED, EventKind.STEP_FAILED, EventKind.STEP_CANCELLED, EventKind.CHILD_COMPLETED,
    EventKind.CHILD_FAILED, EventKind.QUESTION_ANSWERED,
}  # fmt: skip
_ROUNDS: Final = 10
"""How often the drive gets a turn before a choice is made, so that what it is about to send takes part."""
_SKIPS: Final = 5
"""How often in a row time may move while a message waits."""


class EndlessError(AssertionError):
    """A run takes far more turns than the undisturbed one."""


class InjectedError(ConnectionError):
    """The error of a step that an explorer lets fail."""


class PassedPoint(NamedTuple):
    """A crash point that a run has passed.

    Attributes:
        point: which.
        place: where the code waited.
        undoes: the run was being rolled back.
    """

    point: CrashPoint
    place: Place | None
    undoes: bool


class _WatchedInfo(StepInfo):
    """What a step knows about itself; says when it reads its idempotency key."""

    __slots__ = ("on_read",)

    def __getattribute__(self, name: str) -> object:
        if name == "idempotency_key":
            object.__getattribute__(self, "on_read")()
        return object.__getattribute__(self, name)


class Interference:
    """Disturbs the runs of one environment as a schedule says.

    Attributes:
        choices: (chosen, how many there were) at each choice between facts.
        points: the crash points that were passed.
        place: where the code waited for the step or question that fails, or when the run was cancelled or crashed.
        executions: steps that began, by (run, command).
        questions: what people were asked, by (run, command).
        is_cancelled: the request was sent.
        keyed: names of steps that have read their idempotency key.
        turns: of the first run and its successors.
    """

    def __init__(
        self, env: WorkflowEnvironment, schedule: Schedule, coverage: Coverage, limit: int, chance: random.Random | None
    ) -> None:
        self._host = env._host
        self._env = env
        self._schedule = schedule
        self._coverage = coverage
        self._limit = limit
        self._chance = chance
        self._held: list[tuple[SimulatedRun, Fact]] = []
        self._rounds: int | None = None
        self._skips = 0
        self._holds = schedule.order is not None
        self.choices: list[tuple[int, int]] = []
        self.points: list[PassedPoint] = []
        self.executions: dict[tuple[int, int], Execution] = {}
        self.questions: dict[tuple[int, int], AskQuestion] = {}
        self.place: Place | None = None
        self.is_cancelled = False
        self.keyed: set[str] = set()
        self.turns = 0
        self._all_turns = 0
        self._last: Place | None = None
        self._host.probe = self
        self._host.may_crash = self._crashes

    # -- crash points -------------------------------------------------------------------------------------

    def _crashes(self, point: CrashPoint, run: SimulatedRun) -> bool:
        if run.replayer is not None:
            self._last = self._coverage.look(run.replayer) or self._last
        undoes = run.replayer is not None and run.replayer.rollback is not RollbackStatus.NONE
        self.points.append(PassedPoint(point, self._last, undoes))
        if point is CrashPoint.BEFORE_COMMIT:
            self._all_turns += 1
            if self._all_turns > self._limit:
                run.inbox.clear()
                run.stuck = EndlessError(f"it goes on and on: {self._all_turns} turns and no end")
                self._host.give_up(run.stuck)
        elif point is CrashPoint.AFTER_COMMIT:
            self._note(run)
            if self._is_first(run):
                self.turns += 1
                self._cancel(run)
        if len(self.points) != self._schedule.crash:
            return False
        self.place = self._last
        return True

    def _note(self, run: SimulatedRun) -> None:
        for number, question in run.questions.items():
            self.questions[self._index(run), number] = question
        fault = self._schedule.fault
        if fault is None or self.place is not None or run.replayer is None or fault.command not in run.replayer.open:
            return
        if self._index(run) == fault.run:
            self.place = place_of_command(run.replayer, fault.command)

    def _index(self, run: SimulatedRun) -> int:
        return list(self._host.runs.values()).index(run)

    def _is_first(self, run: SimulatedRun) -> bool:
        return next(iter(self._host.runs.values())).newest is run

    def _cancel(self, run: SimulatedRun) -> None:
        wanted = self._schedule.cancellation
        if wanted is None or wanted.turn != self.turns or run.status.is_closed:
            return
        self.is_cancelled, self.place = True, self._last
        self._holds = self._holds or wanted.is_alone
        self._host.deliver(
            run, Fact(EventKind.CANCEL_REQUESTED, detail=write_detail(reason="explored"), actor="user:test")
        )

    # -- facts --------------------------------------------------------------------------------------------

    @property
    def is_holding(self) -> bool:
        """Facts wait to be delivered."""
        return bool(self._held)

    def takes(self, run: SimulatedRun, fact: Fact) -> bool:
        """Hold a fact, or lose an answer that nobody is to give."""
        if fact.kind == EventKind.QUESTION_ANSWERED and self._is_target(run, fact.command):
            assert self._schedule.fault is not None
            if self._schedule.fault.kind is FaultKind.UNANSWERED:
                return True
            if self._schedule.fault.kind is FaultKind.REJECTED:
                no = to_json({"approved": False, "comment": "explored"}).decode()
                fact = fact._replace(payload=self._host.envelope.seal(no))
                self._accept(run, fact)
                return True
        if not self._holds or fact.kind not in HELD:
            return False
        self._held.append((run, fact))
        self.notice()
        return True

    def _accept(self, run: SimulatedRun, fact: Fact) -> None:
        if self._holds:
            self._held.append((run, fact))
            self.notice()
        else:
            self._host.deliver(run, fact)

    def notice(self) -> None:
        """Choose soon, unless something happens first."""
        if self._held and self._rounds is None:
            self._rounds = _ROUNDS
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        host = self._host
        if not self._held or host._dirty or host._drain_handle is not None or host.steps.live:
            self._rounds = None  # whatever happens notices
            return
        assert self._rounds is not None
        self._rounds -= 1
        if self._rounds:
            asyncio.get_running_loop().call_soon(self._look)
            return
        self._rounds = None
        self._choose()
        host.notify()

    def _options(self) -> list[int]:
        """Which of the held facts may be next; -1: time moves."""
        found, spoken = [], set()
        for index, (run, fact) in enumerate(self._held):
            if fact.kind in MESSAGES:
                if run.workflow_id in spoken:
                    continue
                spoken.add(run.workflow_id)
            found.append(index)
        can_skip = self._skips < _SKIPS and not self._env.frozen and self._host.clock.next_us() is not None
        return [*found, -1] if can_skip and len(spoken) == len(found) else found

    def _choose(self) -> None:
        options = self._options()
        position = len(self.choices)
        order = self._schedule.order or ()
        if len(options) == 1:
            chosen = 0
        elif position < len(order):
            chosen = min(order[position], len(options) - 1)
        else:
            chosen = self._chance.randrange(len(options)) if self._chance is not None else 0
        if len(options) > 1:
            self.choices.append((chosen, len(options)))
        if options[chosen] == -1:
            self._skips += 1
            self._host.clock.ring_next()
            return
        self._skips = 0
        run, fact = self._held.pop(options[chosen])
        self._host.deliver(run, fact)

    # -- steps --------------------------------------------------------------------------------------------

    def _is_target(self, run: SimulatedRun, command: int | None) -> bool:
        fault = self._schedule.fault
        return fault is not None and fault.command == command and fault.run == self._index(run)

    def fault(self, execution: Execution) -> Exception | object | None:
        """What an attempt meets instead of its step."""
        self.executions[self._index(execution.run), execution.number] = execution
        fault = self._schedule.fault
        if fault is None or not self._is_target(execution.run, execution.number):
            return None
        if fault.kind is FaultKind.TIMES_OUT:
            return SILENCE
        if fault.kind is FaultKind.IN_DOUBT:
            return StepInDoubtError(
                f"step {execution.name!r} was started and its outcome is unknown; it is not run again",
                step=execution.name,
            )
        if fault.kind is FaultKind.FAILS or (fault.kind is FaultKind.FAILS_ONCE and execution.attempt == 1):
            return InjectedError(f"step {execution.name!r} fails, says the explorer")
        return None

    def watched(self, info: StepInfo) -> StepInfo:
        """A step's information that says when its idempotency key is read."""
        made = object.__new__(_WatchedInfo)
        for name in StepInfo.__slots__:
            object.__setattr__(made, name, getattr(info, name))
        object.__setattr__(made, "on_read", lambda: self.keyed.add(info.step))
        return made
