"""The fulfiller: gives simulated runs their turns and carries out what they ask for, in memory.

A turn is that of a worker (rule K1): take the waiting facts, activate the replayer, commit the events together with what the
commands need, and only then start the steps. Every turn happens in a plain callback of the test's event loop (rule L2).
A crash drops replayers and attempts; what was committed and what was accepted stays.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from durable.codec import Envelope
from durable.commands import ScheduleStep
from durable.errors import DeterminismError, RunStuckError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Fact
from durable.interceptor import Interceptor
from durable.kernel import guard
from durable.kernel.activation import Activation
from durable.kernel.beginning import begin
from durable.kernel.describe import waiting_for
from durable.kernel.replayer import Replayer
from durable.registry import Registry
from durable.retry import RetryPolicy
from durable.testing.clock import VirtualClock
from durable.testing.crash import CrashPoint
from durable.testing.effect import EFFECTS
from durable.testing.execution import Execution
from durable.testing.probe import Probe
from durable.testing.relation import Relations
from durable.testing.simulated import SimulatedRun
from durable.testing.stepping import Steps
from durable.testing.stub import StepCall, Stub
from durable.testing.verification import replay_strictly

T = TypeVar("T")

ACTOR: Final = "harness"
"""Who runs workflows here, in the records."""


class Fulfiller:
    """All runs of an environment.

    Attributes:
        runs: by run id, in order of their start.
        calls: attempts of steps and starts of stubbed children.
        stubs: by name.
        problem: why the test cannot go on.
        may_crash: asked at every crash point; None in between.
        probe: disturbs the runs; None: everything happens as soon as it can.
        replays_every_turn: memory is dropped after every turn.
        is_private: codecs or interceptors are needed to replay a run.
        unchecked: workflows that were not replayed under another hash seed, and why.
    """

    def __init__(
        self,
        clock: VirtualClock,
        envelope: Envelope,
        seed: int,
        allowed: Callable[[str], bool],
        interceptors: Sequence[Interceptor],
        default_retry: RetryPolicy | None,
    ) -> None:
        self.clock = clock
        self.envelope = envelope
        self.seed = seed
        self.interceptors = interceptors
        self.default_retry = default_retry
        self.registry = Registry()
        self.runs: dict[str, SimulatedRun] = {}
        self.calls: list[StepCall] = []
        self.stubs: dict[str, Stub] = {}
        self.problem: BaseException | None = None
        self.may_crash: Callable[[CrashPoint, SimulatedRun], bool] | None = None
        self.probe: Probe | None = None
        self.replays_every_turn = False
        self.crashes = 0
        self.is_private = bool(interceptors) or envelope.description() != []
        self.unchecked: dict[str, str] = {}
        self.relations = Relations(self)
        self.steps = Steps(self)
        self._allowed = allowed
        self._count = 0
        self._dirty: list[SimulatedRun] = []
        self._drain_handle: asyncio.Handle | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    # -- those who wait -----------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing can happen without time or the test."""
        return self.is_settled and not self.steps.live

    @property
    def is_settled(self) -> bool:
        """No turn is due; real steps may run."""
        return not self._dirty and self._drain_handle is None and (self.probe is None or not self.probe.is_holding)

    def notify(self) -> None:
        """Something may have changed."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self.probe is not None:
            self.probe.notice()

    async def change(self) -> None:
        """Wait until something may have changed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def give_up(self, problem: BaseException) -> None:
        """The test cannot go on: whoever waits gets this."""
        if self.problem is None:
            self.problem = problem
        self.notify()

    async def call(self, action: Callable[[], T]) -> T:
        """Do something with a replayer: in a callback of the loop, never inside a task (rule L2)."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def act() -> None:
            try:
                result = action()
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(result)

        asyncio.get_running_loop().call_soon(act)
        return await done

    # -- facts --------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """The next run id: the same in every test."""
        self._count += 1
        return f"00000000-0000-7000-8000-{self._count:012}"

    def accept(self, run: SimulatedRun, fact: Fact) -> None:
        """A fact for a run, which gets a turn soon; as good as on disk."""
        if self.probe is None or not self.probe.takes(run, fact):
            self.deliver(run, fact)

    def deliver(self, run: SimulatedRun, fact: Fact) -> None:
        """The same for a fact that no probe holds back."""
        run.inbox.append(fact)
        self.mark(run)

    def mark(self, run: SimulatedRun) -> None:
        """Give a run a turn soon; before its time comes, then."""
        if run.is_dirty or run.stuck is not None:
            return
        if run.ready_at_us > self.clock.now_us():
            if run.alarm is None:
                run.alarm = self.clock.call_at(run.ready_at_us, lambda: self._ring(run))
            return
        run.is_dirty = True
        self._dirty.append(run)
        if self._drain_handle is None:
            self._drain_handle = asyncio.get_running_loop().call_soon(self._drain)

    def record_call(self, call: StepCall) -> None:
        """A step, or a child that is stubbed, was called."""
        self.calls.append(call)
        self.notify()

    def stub_for(self, execution: Execution) -> Stub | None:
        """What stands for a step; None if it runs for real.

        Raises:
            UnstubbedStepError: it is not to run.
        """
        from durable.testing.permission import check_allowed

        stub = self.stubs.get(execution.name)
        if stub is None:
            check_allowed(execution, self._allowed(execution.name))
        return stub

    # -- turns --------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        self._drain_handle = None
        dirty, self._dirty = self._dirty, []
        for run in dirty:
            run.is_dirty = False
        for run in dirty:
            try:
                self._turn(run)
            except BaseException as error:  # noqa: BLE001 - a fault of the harness: whoever waits must hear of it
                self.give_up(error)
        self.notify()

    def replayer(self, run: SimulatedRun) -> Replayer:
        """The run in memory, replayed from its history if it is not there."""
        if run.replayer is None:
            run.replayer = self.new_replayer(run)
            run.replayer.load(run.history)
        return run.replayer

    def new_replayer(self, run: SimulatedRun, *, strict: bool = False) -> Replayer:
        """A replayer at the beginning of a run."""
        return Replayer(
            run.definition,
            run.identity,
            registry=self.registry,
            ids=self.new_id,
            envelope=self.envelope,
            interceptors=self.interceptors,
            strict=strict,
        )

    def _turn(self, run: SimulatedRun) -> None:
        if run.status.is_closed and run.rollback is not RollbackStatus.RUNNING:
            wanted = EventKind.ROLLBACK_REQUESTED
            run.inbox = [fact for fact in run.inbox if fact.kind == wanted and run.rollback is RollbackStatus.FAILED]
            if not run.inbox:
                return
        facts, before = run.inbox, run.status
        guard.profile_everything(on=True)
        try:
            replayer = self.replayer(run)
            activation = replayer.activate([self._begun(run, fact) for fact in facts], self.clock.now_us(), ACTOR)
        except (Exception, DeterminismError) as error:  # noqa: BLE001 - rule L9: whatever stops the kernel
            run.stuck, run.status = error, RunStatus.STUCK
            run.forget()
            return
        finally:
            guard.profile_everything(on=False)
        if self.crashes_at(CrashPoint.BEFORE_COMMIT, run):
            return
        run.inbox = []
        self._commit(run, replayer, activation, before)
        if not self.crashes_at(CrashPoint.AFTER_COMMIT, run):
            self._launch(run, activation)
        if run.replayer is not None:
            self._after(run)

    def _launch(self, run: SimulatedRun, activation: Activation) -> None:
        crashes = self.crashes
        for command in activation.commands:
            if type(command) is ScheduleStep and command.number in run.steps:
                self.steps.launch(run.steps[command.number])
                if self.crashes != crashes:
                    return  # this turn is lost with the rest; the recovery starts the others

    def _begun(self, run: SimulatedRun, fact: Fact) -> Fact:
        if fact.kind != EventKind.RUN_STARTED:
            return fact
        source = random.Random(f"{self.seed}:{run.run_id}")  # noqa: S311 - the same in every test
        return begin(fact, run.definition, source.randbytes(18))

    def _commit(self, run: SimulatedRun, replayer: Replayer, activation: Activation, before: RunStatus) -> None:
        """Everything that a store would write in one transaction."""
        run.history += activation.events
        run.logs += activation.logs
        run.rollback = replayer.rollback
        run.status = replayer.status if replayer.status.is_closed else RunStatus.RUNNING
        for rejection in activation.rejections:
            run.updates[rejection.update_id] = ("rejected", rejection.error)
        for event in activation.events:
            if event.kind == EventKind.QUESTION_ANSWERED and event.command not in replayer.open:
                run.questions.pop(event.command or 0, None)
        for command in activation.commands:
            carry_out = EFFECTS.get(type(command))
            if carry_out is not None:
                carry_out(self, run, command)
            else:
                self.relations.carry_out(run, command)
        if run.status.is_closed and not before.is_closed:
            self.relations.close(run, replayer, activation)
        elif activation.unread:
            run.inbox[:0] = activation.unread

    def _after(self, run: SimulatedRun) -> None:
        replayer = run.replayer
        assert replayer is not None
        is_over = run.status.is_closed and run.rollback is not RollbackStatus.RUNNING
        wake_us = None if is_over else replayer.next_wake_us()
        if run.alarm is not None:
            run.alarm.cancel()
        run.alarm = None if wake_us is None else self.clock.call_at(wake_us, lambda: self._ring(run))
        run.waiting_for = None if is_over else waiting_for(replayer)
        if not run.steps and not run.status.is_closed:
            run.status = RunStatus.WAITING
        if replayer.loop.tainted or (self.replays_every_turn and not is_over):
            replayer.evict()
            run.replayer = None
        if run.inbox and not is_over:
            self.mark(run)

    def _ring(self, run: SimulatedRun) -> None:
        run.alarm = None
        run.is_dirty = True
        self._dirty.append(run)
        if self._drain_handle is None:
            self._drain_handle = asyncio.get_running_loop().call_soon(self._drain)

    def verify(self, run: SimulatedRun) -> None:
        """Replay a run strictly, once."""
        if run.is_verified or run.stuck is not None:
            return
        run.is_verified = True
        error = replay_strictly(self, run)
        if error is not None:
            self.give_up(
                RunStuckError(
                    f"{run.workflow_id!r} does not replay: {error}", workflow_id=run.workflow_id, run_id=run.run_id
                )
            )

    # -- crashes ------------------------------------------------------------------------------------------

    def crashes_at(self, point: CrashPoint, run: SimulatedRun) -> bool:
        """Crash here if that was asked for; True if so."""
        if self.may_crash is None or not self.may_crash(point, run):
            return False
        self.crash()
        return True

    def crash(self) -> None:
        """Drop all memory and go on from what is durable."""
        self.crashes += 1
        self._dirty.clear()
        runs = list(self.runs.values())
        for run in runs:
            run.is_dirty = False
            run.forget()
            for execution in list(run.steps.values()):
                self.steps.crash(execution)
        asyncio.get_running_loop().call_soon(self._recover, runs)
        if self._drain_handle is None:
            self._drain_handle = asyncio.get_running_loop().call_soon(self._drain)

    def _recover(self, runs: list[SimulatedRun]) -> None:
        for run in runs:
            if run.stuck is not None or (run.status.is_closed and run.rollback is not RollbackStatus.RUNNING):
                continue
            for execution in list(run.steps.values()):
                self.steps.recover(execution)
            self.mark(run)
