"""The replayer: history in, commands out.

``load`` runs recorded batches and checks that workflow code asks for exactly what history records; ``activate`` applies
new facts and returns the events to commit and the commands to carry out afterwards. No I/O, no clock, no thread: the
same machine serves the worker, the test harness and the replay checker.

One batch: apply its facts in order, drain the loop, settle (conditions, the end of the run), record the commands that
were issued and not taken back. ``RunStarted`` and every accepted update are batches of their own (rules K3, K4), so a
validator runs at quiescence and two validators never see the same stale state.

Any exception out of ``load`` or ``activate`` makes the run stuck (rule L9): the activation is discarded, the replayer is of no
more use and must be evicted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from durable.codec import INLINE, Envelope, summarize_exception
from durable.commands import CancelTimer, ScheduleStep, StartTimer
from durable.context import Context
from durable.errors import DeterminismError, NondeterminismError, WorkflowAbortError
from durable.handle import RollbackStatus, RunStatus
from durable.history import FACTS, Event, EventKind, Fact, Recorder, split_batches
from durable.info import RunIdentity
from durable.interceptor import Interceptor
from durable.kernel import guard
from durable.kernel.activation import Activation
from durable.kernel.arrival import ARRIVALS
from durable.kernel.ending import Ending
from durable.kernel.issuing import Issuer
from durable.kernel.line import raised_line
from durable.kernel.loop import KernelLoop
from durable.kernel.mailbox import Mailbox
from durable.kernel.operation import Waiter
from durable.kernel.outcome import OUTCOMES
from durable.kernel.payload import SMALL, Payloads
from durable.kernel.runlog import LogLine
from durable.kernel.timers import RUN_DEADLINE, Timers
from durable.saga import CompensationStack

if TYPE_CHECKING:
    from durable.registry import Registry
    from durable.workflow import WorkflowDefinition

_APPLIED: Final = {**ARRIVALS, **OUTCOMES}


class Replayer:
    """One run in memory.

    Args:
        definition: the workflow.
        identity: the run's names.
        registry: where carried-over compensations and recorded classes are found.
        envelope: the payload codecs.
        ids: makes run ids for children and successors.
        interceptors: around the workflow function.
        strict: an input that differs from the recorded one is an error.

    Attributes:
        loop: the deterministic loop.
        recorder: place at the end of the history.
        issuer: takes the commands of workflow code.
        payloads: reads and writes them.
        timers: when the run wants to be activated by itself.
        open: unfinished operations by command number.
        status: of the run, as its history says.
        is_closing: coroutines are being closed; what they ask for is refused.
        is_over: what workflow code still asks for is of no consequence: it is being closed, or goes on as a new run.
        events_before: events up to the batch before this one; the same live and on replay.
        rollback: where the rollback stands.
    """

    def __init__(
        self,
        definition: WorkflowDefinition[..., Any],
        identity: RunIdentity,
        *,
        registry: Registry,
        ids: Callable[[], str],
        envelope: Envelope | None = None,
        strict: bool = False,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self.definition = definition
        self.identity = identity
        self.registry = registry
        self.new_id = ids
        self.strict = strict
        self.interceptors = interceptors
        self.recorder = Recorder()
        self.issuer = Issuer(self)
        codecs = envelope if envelope is not None else Envelope(blob_threshold_bytes=INLINE)
        self.payloads = Payloads(codecs, self.issuer.stop)
        self.timers = Timers()
        self.loop: KernelLoop = KernelLoop(self, 0, definition.name)
        self.mailbox = Mailbox(self)
        self.stack = CompensationStack()
        self.open: dict[int, Waiter] = {}
        self.ending = Ending(self)
        self.context = Context(self)
        self.random = random.Random()  # noqa: S311 - seeded per run, for workflow code
        self.parent_workflow_id: str | None = None
        self.attributes: dict[str, Any] = {}
        self.failure_text: str | None = None
        self.started_us = 0
        self.now_us = 0
        self.deadline_us: int | None = None
        self.cancel_reason: str | None = None
        self.timed_out = False
        self.status = RunStatus.RUNNING
        self.rollback = RollbackStatus.NONE
        self.patches: dict[str, bool] = {}
        self.positions: dict[str, int] = {}
        self.attempt = identity.attempt
        self.failure: BaseException | None = None
        self.root: asyncio.Task[Any] | None = None
        self.logs: list[LogLine] = []
        self.is_replaying = False
        self.is_closing = False
        self.is_over = False
        self.events_before = 0

    # -- in: history and facts ----------------------------------------------------------------------------

    def load(self, history: Iterable[Event], blobs: Mapping[str, bytes] | None = None) -> None:
        """Replay recorded batches.

        Raises:
            NondeterminismError: the code asks for something else than history records.
            OperatorError: a payload cannot be opened with the codecs and keys at hand.
            MissingCodeError: history names code that is not there.
            DeterminismError: the guard stopped the code.
            WorkflowAbortError: the code raised what ends an interpreter.
        """
        self.payloads.blobs = blobs or {}
        guard.install()
        self.is_replaying = True
        self.loop.enter()
        try:
            for batch in split_batches(history):
                self._replay(batch)
        except (DeterminismError, NondeterminismError):
            self._check_fatal()
            raise
        finally:
            self.loop.leave()
            self.is_replaying = False
            self.payloads.blobs = {}

    def activate(
        self, facts: Sequence[Fact], now_us: int, actor: str, blobs: Mapping[str, bytes] | None = None
    ) -> Activation:
        """Apply facts and the timers that are due, and say what to commit and to do.

        Args:
            facts: new facts in order of arrival; those that answer nothing open are ignored.
            now_us: the time, UTC microseconds.
            actor: who runs this, for the records.
            blobs: stored payloads that the facts refer to.

        Raises:
            NondeterminismError, OperatorError, MissingCodeError, DeterminismError, WorkflowAbortError: as ``load``.
        """
        activation = Activation()
        self.payloads.blobs = blobs or {}
        guard.install()
        self.loop.enter()
        try:
            pending: list[Fact] = []
            for index, fact in enumerate(facts):
                if fact.kind == EventKind.RUN_STARTED:
                    self._run_batch((fact,), now_us, actor, activation)
                elif fact.kind == EventKind.UPDATE_ACCEPTED:
                    self._run_batch(self._with_due(pending, now_us), now_us, actor, activation)
                    pending = []
                    self._admit(fact, now_us, actor, activation)
                    if self.loop.tainted:  # by a validator, which replay does not call: go on with a fresh replayer
                        activation.unread += facts[index + 1 :]
                        break
                elif fact.kind == EventKind.CANCEL_REQUESTED:
                    pending.insert(0, fact)  # beside anything else the cancellation is seen first
                else:
                    pending.append(fact)
            else:
                self._run_batch(self._with_due(pending, now_us), now_us, actor, activation)
        except DeterminismError:
            self._check_fatal()
            raise
        finally:
            self.loop.leave()
            self.payloads.blobs = {}
        activation.blobs = self.payloads.envelope.take_blobs()
        for message, error in self.loop.complaints:
            self.logs.append(LogLine("WARNING", f"{message}: {error!r}" if error is not None else message))
        self.loop.complaints.clear()
        activation.logs, self.logs = self.logs, []
        return activation

    def _admit(self, fact: Fact, now_us: int, actor: str, activation: Activation) -> None:
        if self.status is RunStatus.CONTINUED_AS_NEW:
            activation.unread.append(fact)
            return
        random_state = self.random.getstate()
        try:
            rejection = self.mailbox.validate(fact)
        except (SystemExit, KeyboardInterrupt) as error:
            raise _abort(error) from error
        finally:
            self.random.setstate(random_state)
        self._check_fatal()
        if rejection is not None:
            activation.rejections.append(rejection)
        else:
            self._run_batch((fact,), now_us, actor, activation)

    def query(self, name: str, payload: str | None) -> str:
        """The sealed answer to a query; changes nothing.

        Raises:
            UnknownMessageError, DecodeError, ReadOnlyError: the query fails, the run does not.
            DeterminismError, WorkflowAbortError: as workflow code raises them; here only the query fails.
        """
        loop, logged, random_state = self.loop, len(self.logs), self.random.getstate()
        try:
            with loop.activate():
                answer = self.mailbox.query(name, payload)
            if loop.violation is not None:
                raise loop.violation
        except (SystemExit, KeyboardInterrupt) as error:
            raise _abort(error) from error
        else:
            return answer
        finally:
            loop.violation = None
            self.random.setstate(random_state)
            del self.logs[logged:]

    def next_wake_us(self) -> int | None:
        """When the run wants to be activated by itself: its earliest timer or its deadline."""
        return self.timers.next_us() if self.timers else None

    def has_open_steps(self) -> bool:
        """Whether a step has no outcome yet."""
        return any(isinstance(waiter.command, ScheduleStep) for waiter in self.open.values())

    @property
    def warnings(self) -> list[str]:
        """Differences that are not divergences (rule K6), in words."""
        return [difference.error.message for difference in self.issuer.differences]

    def evict(self) -> int:
        """Drop the run from memory; returns how many coroutines refused to close (rule L7)."""
        self.is_closing = self.is_over = True
        self.issuer.refuse("an evicted run")
        return self.loop.evict()

    # -- batches ------------------------------------------------------------------------------------------

    def _with_due(self, facts: list[Fact], now_us: int) -> list[Fact]:
        """The facts and the timers that are due (rule K8)."""
        if not self.timers or self.status.is_closed:
            return facts
        due = self.timers.take_due(now_us)
        return [*facts, *map(_timer_fact, due)] if due else facts

    def _run_batch(self, facts: Sequence[Fact], now_us: int, actor: str, activation: Activation) -> None:
        recorder, events = self.recorder, activation.events
        is_begun = False
        for fact in facts:
            if not self._is_applicable(fact):
                if self.status is RunStatus.CONTINUED_AS_NEW and fact.command is None:
                    activation.unread.append(fact)
                continue
            if not is_begun:
                is_begun = True
                self.issuer.batch = []
                self.events_before = recorder.seq
                recorder.begin_batch(now_us)
                self._begin(recorder.at_us)
            kind, command, name, detail, payload, cause = fact
            if payload is not None and len(payload) > SMALL:
                payload = self.payloads.envelope.set_apart(payload)
            event = recorder.append(kind, cause or actor, command, name, detail, payload)
            events.append(event)
            _APPLIED[kind](self, event)
        if not is_begun:
            return
        self._settle()
        issued, self.issuer.batch = self.issuer.batch, []
        for one in issued:
            if not one.dropped:
                payload = one.payload
                if payload is not None and len(payload) > SMALL:
                    payload = self.payloads.envelope.set_apart(payload)
                events.append(recorder.append(one.kind, actor, one.number, one.name, one.detail, payload))
                activation.commands.append(one)

    def _replay(self, batch: Sequence[Event]) -> None:
        self.events_before = batch[0].seq - 1
        self._begin(batch[0].at_us)
        self.issuer.expect(batch)
        for event in batch:
            kind = event.kind
            if kind in FACTS:
                _APPLIED[kind](self, event)
        self._settle()
        self.issuer.check_all_issued()
        last = batch[-1]
        recorder = self.recorder
        recorder.seq, recorder.batch, recorder.at_us, recorder.hash = last.seq, last.batch, last.at_us, last.hash

    def _begin(self, at_us: int) -> None:
        if not self.started_us:
            self.started_us = at_us
        self.now_us = at_us
        self.loop.elapsed_us = at_us - self.started_us

    def _is_applicable(self, fact: Fact) -> bool:
        """Whether the run still wants this fact; late outcomes and messages for an ended run are refused."""
        is_outcome = fact.command is not None and fact.kind in OUTCOMES
        if self.status.is_closed and not (is_outcome and self.rollback is RollbackStatus.RUNNING):
            return fact.kind == EventKind.ROLLBACK_REQUESTED and self.rollback is RollbackStatus.FAILED
        if fact.kind == EventKind.ROLLBACK_REQUESTED:
            return False  # the code of an open run decides what becomes of a rollback of its own that failed
        return not is_outcome or fact.command in self.open or fact.kind == EventKind.TIMER_FIRED

    def _settle(self) -> None:
        """Drain until nothing moves: ready callbacks, conditions, then the end of the run."""
        while True:
            try:
                self.loop.drain()
                is_moved = bool(self.mailbox.conditions) and self.mailbox.settle_conditions()
            except DeterminismError:
                self._check_fatal()
                raise
            except (SystemExit, KeyboardInterrupt, RecursionError, MemoryError) as error:
                raise _abort(error) from error
            if self.issuer.fatal is not None or self.loop.violation is not None:
                self._check_fatal()
            if is_moved:
                continue
            root = self.root
            ending = self.ending
            if (
                root is not None
                and not root.done()
                and self.failure is None
                and ending.successor is None
                and not ending.has_begun
            ):
                return
            try:
                goes_on = ending.proceed()
            except DeterminismError:
                self._check_fatal()
                raise
            if not goes_on:
                return

    def _check_fatal(self) -> None:
        if self.issuer.fatal is not None:
            raise self.issuer.fatal
        if self.loop.violation is not None:
            raise self.loop.violation

    # -- for what asks for something ----------------------------------------------------------------------

    @property
    def title(self) -> str:
        """The run, in messages."""
        return f"workflow {self.definition.name!r} ({self.identity.workflow_id}, run {self.identity.run_id[:8]})"

    def never(self) -> asyncio.Future[Any]:
        """What an operation waits for once the run is over. An exception would keep code that swallows everything going."""
        return asyncio.Future(loop=self.loop)

    def close_tasks(self, keep: Collection[asyncio.Task[Any]] = ()) -> None:
        """Close the coroutines of every task but these, with commands refused (rule L7)."""
        was_over = self.is_over
        self.is_closing = self.is_over = True
        try:
            self.loop.close_tasks(keep)
        finally:
            self.is_closing, self.is_over = False, was_over

    def fail(self, error: BaseException) -> None:
        """Fail the run with an error that no task of the workflow can catch."""
        if self.failure is None and not self.is_over:
            self.failure = error

    # -- the loop's host ----------------------------------------------------------------------------------

    def start_timer(self, delay_us: int) -> int:
        """A timer of plain asyncio or anyio."""
        number = self.issuer.next_number()
        command = StartTimer(number, self.now_us + delay_us)
        self.timers.set(number, command.deadline_us)
        self.issuer.issue(command)
        return number

    def cancel_timer(self, number: int) -> None:
        """Take back a timer of plain asyncio or anyio."""
        if not self.timers.clear(number) or self.is_closing:
            return
        for command in self.issuer.batch:
            if command.number == number and isinstance(command, StartTimer):
                command.dropped = True
                return
        self.issuer.issue(CancelTimer(number))

    def callback_failed(self, context: dict[str, Any]) -> None:
        """An exception in a loop callback fails the run (rule L8)."""
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.fail(error)


def _timer_fact(number: int) -> Fact:
    kind = EventKind.TIMER_FIRED if number != RUN_DEADLINE else EventKind.RUN_TIMED_OUT
    return Fact(kind, number or None, actor="kernel")


def _abort(error: BaseException) -> WorkflowAbortError:
    return WorkflowAbortError(f"workflow code raised {summarize_exception(error)}{raised_line(error)}")
