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
import contextvars
import heapq
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from durable.codec import INLINE, Envelope, record_exception, value_codec
from durable.commands import CancelTimer, CloseRun, Command, StartChild, StartTimer
from durable.context import Context
from durable.errors import DeterminismError, NondeterminismError, ReadOnlyError, WorkflowAbortError
from durable.handle import RollbackStatus, RunStatus
from durable.history import FACTS, Event, EventKind, Fact, Recorder, parse_detail, split_batches, write_detail
from durable.info import RunIdentity
from durable.interceptor import Interceptor, chain
from durable.kernel import guard
from durable.kernel.ending import Ending, Stage
from durable.kernel.loop import KernelLoop
from durable.kernel.mailbox import Mailbox, Received, Rejection
from durable.kernel.matcher import (
    CANCELS,
    UNCOMPARED,
    called_name,
    key_of,
    mismatch,
    request_line,
    waiting_line,
)
from durable.kernel.operation import Operation, Waiter
from durable.kernel.outcome import OUTCOMES, withdrawal
from durable.saga import CompensationStack

if TYPE_CHECKING:
    from durable.registry import Registry
    from durable.workflow import WorkflowDefinition

SUGGESTED_HISTORY_EVENTS: Final = 10_000
"""From this many events on, ``ctx.info.continue_as_new_suggested`` is true."""

SMALL: Final = 4096
"""Payloads of fewer characters need no look at whether they are stored apart."""

RUN_DEADLINE: Final = 0
"""Number of the timer of the run's own timeout, which no command has."""


@dataclass(slots=True)
class Activation:
    """What came of applying facts.

    Attributes:
        events: to append to history, in order.
        commands: to carry out once the events are durable, in order.
        rejections: updates that were refused and leave no event.
        unread: facts that were not looked at; they belong to the next turn, or to the run that continues this one.
        blobs: payloads that are stored by hash.
        logs: (level, message) lines that workflow code logged.
    """

    events: list[Event] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    unread: list[Fact] = field(default_factory=list)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    logs: list[tuple[str, str]] = field(default_factory=list)


class Replayer:
    """One run in memory.

    Args:
        definition: the workflow.
        identity: the run's names.
        registry: where carried-over compensations and recorded classes are found.
        envelope: the payload codecs.
        ids: makes run ids for children and successors.
        interceptors: around the workflow function.
        strict: an input that differs from the recorded one is an error, and so is an operation that is never awaited.

    Attributes:
        loop: the deterministic loop.
        recorder: place at the end of the history.
        open: unfinished operations by command number.
        warnings: differences that are not divergences (rule K6), in words.
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
        self.envelope = envelope if envelope is not None else Envelope(blob_threshold_bytes=INLINE)
        self.new_id = ids
        self.strict = strict
        self.interceptors = interceptors
        self.recorder = Recorder()
        self.loop: KernelLoop = KernelLoop(self, 0)
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
        self.warnings: list[str] = []
        self.logs: list[tuple[str, str]] = []
        self.is_replaying = False
        self.is_closing = False
        self.is_over = False
        self._blobs: Mapping[str, bytes] = {}
        self._number = 0
        self._timers: list[tuple[int, int]] = []
        self._live_timers: dict[int, int] = {}
        self._commands: list[Command] = []
        self._expected: dict[Any, Event] | None = None
        self._batch: Sequence[Event] = ()
        self._refusal: str | None = None
        self._fatal: BaseException | None = None
        self._unawaited: dict[int, Operation[Any]] = {}
        self.events_before = 0

    # -- in: history and facts ----------------------------------------------------------------------------

    def load(self, history: Iterable[Event], blobs: Mapping[str, bytes] | None = None) -> None:
        """Replay recorded batches.

        Raises:
            NondeterminismError: the code asks for something else than history records.
            MissingCodeError: history names code that is not there.
            DeterminismError: the guard stopped the code.
            WorkflowAbortError: the code raised what ends an interpreter.
        """
        self._blobs = blobs or {}
        guard.install()
        self.is_replaying = True
        self.loop.enter()
        try:
            for batch in split_batches(history):
                self._replay(batch)
        finally:
            self.loop.leave()
            self.is_replaying = False
            self._blobs = {}

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
            NondeterminismError, MissingCodeError, DeterminismError, WorkflowAbortError: as ``load``.
        """
        activation = Activation()
        self._blobs = blobs or {}
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
        finally:
            self.loop.leave()
            self._blobs = {}
        activation.blobs = self.envelope.take_blobs()
        for message, error in self.loop.complaints:
            self.logs.append(("WARNING", f"{message}: {error!r}" if error is not None else message))
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
        timers = self._timers
        if not timers:
            return None
        while timers and timers[0][1] not in self._live_timers:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def next_timer_us(self) -> int | None:
        """When the earliest timer of workflow code fires."""
        return min((at_us for number, at_us in self._live_timers.items() if number != RUN_DEADLINE), default=None)

    def evict(self) -> int:
        """Drop the run from memory; returns how many coroutines refused to close (rule L7)."""
        self.is_closing = self.is_over = True
        self._refusal = "an evicted run"
        return self.loop.evict()

    # -- batches ------------------------------------------------------------------------------------------

    def _with_due(self, facts: list[Fact], now_us: int) -> list[Fact]:
        """The facts and the timers that are due, those by deadline and number (rule K8)."""
        if not self._timers:
            return facts
        wake = self.next_wake_us()
        if wake is None or wake > now_us or self.status.is_closed:
            return facts
        due = list(facts)
        timers, live = self._timers, self._live_timers
        while timers and timers[0][0] <= now_us:
            _, number = heapq.heappop(timers)
            if live.pop(number, None) is not None:
                due.append(
                    Fact(EventKind.RUN_TIMED_OUT, actor="kernel")
                    if number == RUN_DEADLINE
                    else Fact(EventKind.TIMER_FIRED, number, actor="kernel")
                )
        return due

    def _run_batch(self, facts: Sequence[Fact], now_us: int, actor: str, activation: Activation) -> None:
        recorder, events = self.recorder, activation.events
        commands: list[Command] | None = None
        for fact in facts:
            if not self._is_applicable(fact):
                if self.status is RunStatus.CONTINUED_AS_NEW and fact.command is None:
                    activation.unread.append(fact)
                continue
            if commands is None:
                self._commands = commands = []
                self.events_before = recorder.seq
                recorder.begin_batch(now_us)
                self._begin(recorder.at_us)
            kind, command, name, detail, payload, cause = fact
            if payload is not None and len(payload) > SMALL:
                payload = self.envelope.set_apart(payload)
            event = recorder.append(kind, cause or actor, command, name, detail, payload)
            events.append(event)
            self._apply(event)
        if commands is None:
            return
        self._settle()
        for issued in commands:
            if not issued.dropped:
                payload = issued.payload
                if payload is not None and len(payload) > SMALL:
                    payload = self.envelope.set_apart(payload)
                events.append(recorder.append(issued.kind, actor, issued.number, issued.name, issued.detail, payload))
                activation.commands.append(issued)
        self._commands = []

    def _replay(self, batch: Sequence[Event]) -> None:
        self._batch = batch
        commands: list[Command] = []
        self._commands = commands
        self.events_before = batch[0].seq - 1
        self._begin(batch[0].at_us)
        records = []
        self._expected = expected = {}
        for event in batch:
            kind, number = event.kind, event.command
            if kind not in FACTS:
                records.append(event)
                expected[number if number is not None and kind not in CANCELS else key_of(kind, number, event.name)] = (
                    event
                )
        for event in batch:
            if event.kind in FACTS:
                self._apply(event)
        self._settle()
        self._check_all_issued(records, [command for command in commands if not command.dropped])
        self._commands = []
        self._expected = None
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

    def _apply(self, event: Event) -> None:
        outcome = OUTCOMES.get(event.kind)
        if outcome is not None:
            outcome(self, event)
        else:
            self._apply_message(event)

    def _apply_message(self, event: Event) -> None:
        match event.kind:
            case EventKind.RUN_STARTED:
                self._start(event)
            case EventKind.SIGNAL_RECEIVED:
                self.mailbox.receive(
                    Received(event.name or "", event.payload, event.details.get("message_id"), event.actor)
                )
            case EventKind.UPDATE_ACCEPTED:
                self.mailbox.accept(event)
            case EventKind.CANCEL_REQUESTED:
                if (
                    not self.ending.is_deaf
                ):  # its outcome is decided, and what is undone is outside of its timeout (rule S2)
                    self.cancel_reason = str(event.details.get("reason", ""))
                    self.loop.call_soon(self._cancel_root)
            case EventKind.RUN_TIMED_OUT:
                self.unschedule(RUN_DEADLINE)  # replay has not taken it off, as the activation did
                if not self.ending.is_deaf:
                    self.timed_out = True
                    self.cancel_reason = "the run's timeout expired"
                    self.loop.call_soon(self._cancel_root)
            case EventKind.RUN_PAUSED:
                self.status = RunStatus.PAUSED
            case EventKind.RUN_RESUMED:
                self.status = RunStatus.RUNNING
            case EventKind.ROLLBACK_REQUESTED:
                self.ending.resume_rollback()
            case EventKind.RUN_FORKED:
                self._reseed(event.details)
                self.attempt = int(event.details.get("attempt", self.attempt))
            case EventKind.RUN_TERMINATED:
                self._terminate()

    def _terminate(self) -> None:
        """End without the code. A rollback that was under way counts as failed, so that it can be resumed."""
        self.status = RunStatus.TERMINATED
        if self.rollback is RollbackStatus.RUNNING:
            self.rollback = RollbackStatus.FAILED
        self.open.clear()
        self.close_tasks()

    def _start(self, event: Event) -> None:
        detail = event.details
        self.loop.salt = int(detail.get("salt", 0))
        self._reseed(detail)
        self.parent_workflow_id = detail.get("parent_workflow_id")
        if (timeout_us := detail.get("timeout_us")) is not None:
            self.deadline_us = event.at_us + timeout_us
            self.schedule(RUN_DEADLINE, self.deadline_us)
        self.ending.carry_over(detail)
        for name, payload, message_id, actor in detail.get("messages", ()):
            self.mailbox.receive(Received(name, payload, message_id, actor))
        try:
            args, kwargs = self.definition.arguments.decode(self.open_payload(event.payload or "{}"))
        except Exception as error:  # noqa: BLE001 - the run fails with it
            self.failure = error
            return
        function, context = self.definition.fn, self.context
        if self.interceptors:
            main: Any = chain(self.interceptors, "run_workflow", context, lambda: function(context, *args, **kwargs))()
        else:
            main = function(context, *args, **kwargs)
        self.root = self.loop.spawn(main, name=self.definition.name, context=contextvars.Context())

    def _reseed(self, detail: Mapping[str, Any]) -> None:
        if "seed" in detail:
            self.random.seed(str(detail["seed"]), version=2)

    def _cancel_root(self) -> None:
        if self.root is not None and not self.ending.has_begun:
            self.root.cancel(self.cancel_reason or None)
        elif not self.ending.is_deaf:  # the function has returned; its handlers are what is left to cancel
            self.fail(asyncio.CancelledError(self.cancel_reason))

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
            if self._fatal is not None or self.loop.violation is not None:
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
        if self._fatal is not None:
            raise self._fatal
        if self.loop.violation is not None:
            raise self.loop.violation

    # -- out: commands ------------------------------------------------------------------------------------

    def next_number(self) -> int:
        """The number of the next command (rule K5).

        Raises:
            ReadOnlyError: a query, validator or predicate asked for it.
        """
        if self._refusal is not None:
            self._refuse()
        self._number = number = self._number + 1
        return number

    def refuse(self, who: str | None) -> None:
        """Refuse every command from now on, naming ``who`` asked; None allows them again."""
        self._refusal = who

    def close_tasks(self, keep: Collection[asyncio.Task[Any]] = ()) -> None:
        """Close the coroutines of every task but these, with commands refused (rule L7)."""
        was_over = self.is_over
        self.is_closing = self.is_over = True
        try:
            self.loop.close_tasks(keep)
        finally:
            self.is_closing, self.is_over = False, was_over

    def is_recorded_patch(self, patch: str) -> bool:
        """Whether the batch that is replayed marks this patch."""
        return self._expected is not None and key_of(EventKind.PATCH_MARKED, None, patch) in self._expected

    def issue(self, command: Command) -> None:
        """Take a command from workflow code; during replay it must be what history records."""
        if self._refusal is not None:
            self._refuse()
        self._commands.append(command)
        if self._expected is not None:
            self._match(command)

    def never(self) -> asyncio.Future[Any]:
        """What an operation waits for once the run is over. An exception would keep code that swallows everything going."""
        return asyncio.Future(loop=self.loop)

    def check_writable(self) -> None:
        """Refuse what is asked for if a query, validator or predicate asks."""
        if self.loop.read_only is not None:
            self._refuse()

    def _refuse(self) -> NoReturn:
        who = self.loop.read_only
        if who is None:
            raise asyncio.CancelledError("the run is over")
        raise ReadOnlyError(f"{who} must not change the run; it called {called_name()}")

    @contextmanager
    def read_only(self, who: str) -> Iterator[None]:
        """Refuse every command within, naming ``who`` asked. Tasks and futures are refused as well (rule K4)."""
        loop, refusal, before = self.loop, self._refusal, self.loop.read_only
        self._refusal = loop.read_only = before or who
        try:
            yield
        finally:
            self._refusal, loop.read_only = refusal, before

    def _match(self, command: Command) -> None:
        assert self._expected is not None
        kind, number = command.kind, command.number
        key = number if number is not None and kind not in CANCELS else key_of(kind, number, command.name)
        record = self._expected.get(key)
        if record is None:
            if not command.dropped and isinstance(command, CloseRun):
                self.diverge_with(mismatch(self._title(), self._batch, None, command, ""))
            return  # it may still be taken back within this batch; the end of the batch decides
        if record.kind != kind or record.name != command.name:
            self.diverge_with(mismatch(self._title(), self._batch, record, command, request_line()))
        if kind == EventKind.CHILD_STARTED:
            assert isinstance(command, StartChild)
            command.adopt(record)
        if record.payload != command.payload and command.kind not in UNCOMPARED:
            self._compare_input(record, command)

    def _compare_input(self, record: Event, command: Command) -> None:
        if record.payload is not None and command.payload is not None:
            digest = parse_detail(record.detail).get("digest")
            if self.envelope.matches(self.open_payload(command.payload), record.payload, digest, self._blobs):
                return
        error = mismatch(
            self._title(), self._batch, record, command, request_line(),
            cause=f"the input differs from the recorded one: {_shorten(record.payload)} became {_shorten(command.payload)}",
        )  # fmt: skip
        if self.strict:
            self.diverge_with(error)
        self.warnings.append(error.message)

    def _check_all_issued(self, records: Sequence[Event], commands: Sequence[Command]) -> None:
        if len(records) == len(commands):
            for record, command in zip(records, commands, strict=True):
                if record.command != command.number or record.kind != command.kind:
                    break
            else:
                return
        issued = {key_of(command.kind, command.number, command.name) for command in commands}
        recorded = {key_of(record.kind, record.command, record.name) for record in records}
        for record in records:
            if key_of(record.kind, record.command, record.name) not in issued and not _may_be_absent(record):
                where = waiting_line(self.loop.pending_tasks())
                raise mismatch(self._title(), self._batch, record, None, where and f"; the code waits{where}")
        for command in commands:
            if key_of(command.kind, command.number, command.name) not in recorded:
                where = waiting_line(self.loop.pending_tasks())
                raise mismatch(self._title(), self._batch, None, command, where)

    def diverge(self, event: Event, cause: str) -> NoReturn:
        """Make the run stuck because ``event`` cannot be applied."""
        self.diverge_with(mismatch(self._title(), [event], event, None, "", cause=cause))

    def stop(self, error: BaseException) -> NoReturn:
        """Make the run stuck, whatever workflow code catches."""
        self._fatal = self._fatal or error
        raise DeterminismError(str(error)) from error

    def diverge_with(self, error: NondeterminismError) -> NoReturn:
        """Make the run stuck; no ``except`` of workflow code can prevent it."""
        self.stop(error)

    def _title(self) -> str:
        return f"workflow {self.definition.name!r} ({self.identity.workflow_id}, run {self.identity.run_id[:8]})"

    def withdraw(self, waiter: Waiter, *, insists: bool = False) -> None:
        """The wait for an operation was cancelled: drop its command, or send one cancel request (rules K5, L6).

        A child whose waiting task is a leftover of the run's end gets none: ``on_parent_close`` decides about it, unless
        the run ``insists`` because it undoes what the child does.
        """
        if waiter.cancel_requested or self.is_closing:
            return
        command = waiter.command
        is_leftover = self.ending.stage is Stage.LEFTOVER and not insists
        if is_leftover and isinstance(command, StartChild) and command not in self._commands:
            return
        waiter.cancel_requested = True
        number = command.number
        assert number is not None
        if command in self._commands:
            command.dropped = True
            self.open.pop(number, None)
            self._live_timers.pop(number, None)
            return
        request = withdrawal(self, command)
        if request is None:
            return
        if isinstance(request, CancelTimer):
            self.open.pop(number, None)
            self._live_timers.pop(number, None)
        self.issue(request)

    # -- the loop's host ----------------------------------------------------------------------------------

    def start_timer(self, delay_us: int) -> int:
        """A timer of plain asyncio or anyio."""
        number = self.next_number()
        command = StartTimer(number, self.now_us + delay_us)
        self.schedule(number, command.deadline_us)
        self.issue(command)
        return number

    def schedule(self, number: int, deadline_us: int) -> None:
        """Wake the run for timer ``number``."""
        self._live_timers[number] = deadline_us
        heapq.heappush(self._timers, (deadline_us, number))

    def cancel_timer(self, number: int) -> None:
        """Take back a timer of plain asyncio or anyio."""
        if self._live_timers.pop(number, None) is None or self.is_closing:
            return
        for command in self._commands:
            if command.number == number and isinstance(command, StartTimer):
                command.dropped = True
                return
        self.issue(CancelTimer(number))

    def unschedule(self, number: int) -> None:
        """Forget the wake-up of timer ``number``."""
        self._live_timers.pop(number, None)

    def callback_failed(self, context: dict[str, Any]) -> None:
        """An exception in a loop callback fails the run (rule L8)."""
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Fail the run with an error that no task of the workflow can catch."""
        if self.failure is None and not self.is_over:
            self.failure = error

    # -- payloads -----------------------------------------------------------------------------------------

    def open_payload(self, payload: str) -> str:
        """Plaintext JSON of an envelope."""
        return self.envelope.open(payload, self._blobs)

    def seal(self, plain: str, secret: bool = False) -> tuple[str, str | None]:
        """The envelope of plaintext JSON, and the detail with its digest where the envelope hides it (rule K6)."""
        payload = self.envelope.seal(plain, secret=secret)
        digest = self.envelope.digest(plain)
        return payload, None if digest is None else write_detail(digest=digest)

    def seal_any(self, value: Any) -> str:
        """The envelope of a value of no declared type: JSON as it is, models by their own class."""
        codec = value_codec(type(value) if hasattr(type(value), "__pydantic_serializer__") else Any)
        return self.seal(codec.encode(value), codec.has_secrets)[0]

    def record(self, error: BaseException) -> str:
        """The sealed record of an exception."""
        return self.seal(record_exception(error))[0]

    # -- operations that were never awaited ---------------------------------------------------------------

    def created(self, operation: Operation[Any]) -> None:
        """Remember an operation until it is awaited; only in strict mode, where forgetting one is an error."""
        if self.strict:
            self._unawaited[id(operation)] = operation

    def begun(self, operation: Operation[Any]) -> None:
        """It was awaited or closed."""
        if self.strict:
            self._unawaited.pop(id(operation), None)

    def forgotten(self) -> list[str]:
        """Operations that were made and never awaited, by name."""
        return [operation.name for operation in self._unawaited.values()]


def _may_be_absent(record: Event) -> bool:
    return record.kind == EventKind.PATCH_MARKED and bool(record.details.get("deprecated"))


def _shorten(payload: str | None, limit: int = 120) -> str:
    text = payload or "nothing"
    return text if len(text) <= limit else f"{text[:limit]}..."


def _abort(error: BaseException) -> WorkflowAbortError:
    return WorkflowAbortError(f"workflow code raised {type(error).__name__}: {error}{request_place(error)}")


def request_place(error: BaseException) -> str:
    """`` at file:line`` of the innermost frame of a traceback, or ''."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in ("durable", "asyncio", "anyio"):
            place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
