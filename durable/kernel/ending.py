"""How a run ends: handlers are awaited, leftovers cancelled, effects undone, the terminal command issued.

The stages, entered at quiescence and in this order; each goes on when nothing of it is left to wait for:

    RUNNING  -> the function returned, raised, or something failed the run outside of its tasks
    HANDLERS -> message handlers finish (``on_unfinished="wait"``), only if the function returned
    LEFTOVER -> other tasks are cancelled and get one drain to clean up, then they are closed; generators that were left
                run their ``finally``, with all that it waits for
    ROLLBACK -> only if the run failed or was cancelled: open operations end, then compensations run (rules S1 to S3)
    CLOSED   -> the terminal command is issued

continue-as-new leaves RUNNING and HANDLERS straight for CLOSED (rule H6): it is kernel state, so that no task group can
hide it, and it ends the drain, so that no other task takes a message which the successor should have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from durable.codec import input_digest, summarize_exception
from durable.commands import (
    CancelRun,
    CompleteRollback,
    CompleteRun,
    ContinueRun,
    FailRollback,
    FailRun,
    ScheduleStep,
    StartChild,
    StartRollback,
)
from durable.errors import DefinitionError, EncodeError, RollbackFailedError, RunTimeoutError
from durable.handle import RollbackStatus, RunStatus
from durable.history import merge_details, write_detail
from durable.kernel.operation import Waiter
from durable.kernel.outcome import withdraw
from durable.saga import Compensation, CompensationStack
from durable.step import compensation_step

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer


class Stage(IntEnum):
    """Where a run is on its way to its end."""

    RUNNING = 0
    HANDLERS = 1
    LEFTOVER = 2
    ROLLBACK = 3
    CLOSED = 4


class Ending:
    """The end of one run.

    Attributes:
        stage: how far it is.
        successor: the arguments of continue-as-new, once that was asked for.
        undoing: rollbacks that workflow code began, by their scope. They go on to their end, whatever becomes of the code.
    """

    def __init__(self, run: Replayer) -> None:
        self._run = run
        self.stage = Stage.RUNNING
        self.successor: tuple[str, str] | None = None
        self._undoing: asyncio.Task[None] | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._closer: asyncio.Task[None] | None = None
        self.undoing: dict[CompensationStack, asyncio.Task[None]] = {}

    @property
    def has_begun(self) -> bool:
        """Whether the function's own part is over."""
        return self.stage > Stage.RUNNING

    @property
    def is_deaf(self) -> bool:
        """Whether no handler is called any more."""
        return self.stage > Stage.HANDLERS

    @property
    def is_cleaning_up(self) -> bool:
        """Whether leftover tasks are being cancelled."""
        return self.stage is Stage.LEFTOVER and not self.is_closing_generators

    @property
    def is_closing_generators(self) -> bool:
        """Whether generators that were left run their ``finally``."""
        return self._closer is not None and not self._closer.done()

    # -- stages -------------------------------------------------------------------------------------------

    def proceed(self) -> bool:
        """Go on at quiescence; True if there is more to drain."""
        run = self._run
        if self.successor is not None and self.stage <= Stage.HANDLERS:
            self._continue()
            return False
        if self.stage is Stage.RUNNING:
            returned = (
                run.failure is None and run.root is not None and not run.root.cancelled() and not run.root.exception()
            )
            self.stage = Stage.HANDLERS if returned else Stage.LEFTOVER
        if self.stage is Stage.HANDLERS:
            if run.failure is None and run.definition.on_unfinished == "wait" and run.mailbox.running:
                return False
            self.stage = Stage.LEFTOVER
        if self.stage is Stage.LEFTOVER:
            if not self.is_closing_generators and self._cancel_leftovers():
                return True
            if self.is_closing_generators or self.undoing:
                return False
            self.stage = Stage.ROLLBACK
            error = self._error()
            if error is None or isinstance(error, RollbackFailedError) or not self._has_to_undo():
                return self._close()
            self._undoing = run.loop.spawn(self._undo_all(), name="rollback")
            return True
        if self.stage is Stage.ROLLBACK and self._undoing is not None and self._undoing.done():
            if run.status.is_closed:  # a rollback that had failed went on after the run's end
                self.stage = Stage.CLOSED
                run.close_tasks()
                return False
            return self._close()
        return False

    def _cancel_leftovers(self) -> bool:
        """Cancel every task that is left, once, and give it a drain; then close what still will not end.

        After that, as with ``asyncio.run``, generators that were left are closed by a task of their own, which is
        waited for. Tasks that their code starts are left over in turn.
        """
        run = self._run
        cancelled = False
        for task in run.loop.pending_tasks():
            if task not in self._cancelled and task not in self.undoing.values():
                self._cancelled.add(task)
                cancelled = task.cancel("the workflow has ended") or cancelled
        if cancelled:
            return True
        run.close_tasks(self.undoing.values())
        if run.loop.holds_generators():
            self._closer = run.loop.spawn(run.loop.shutdown_asyncgens(), name="generators")
            return True
        return False

    def give_up_closing(self) -> None:
        """Cancel what the ``finally`` of a generator waits for, so that one that would never end ends."""
        if self._closer is not None:
            self._closer.cancel(self._run.cancel_reason or "the run is to end")

    def _error(self) -> BaseException | None:
        """Why the run does not end well, or None."""
        run = self._run
        if run.timed_out:
            seconds = (run.deadline_us or 0) - run.started_us
            return RunTimeoutError(
                f"the run took longer than its timeout of {seconds / 1e6:g} s",
                workflow_id=run.identity.workflow_id,
                run_id=run.identity.run_id,
            )
        if run.failure is not None:
            return run.failure
        assert run.root is not None
        if run.root.cancelled():
            return asyncio.CancelledError(run.cancel_reason or "")
        return run.root.exception()

    def words(self) -> str:
        """Why what still runs is cut short, once the function's own part is over."""
        error, reason = self._error(), self._run.cancel_reason
        if error is None:
            return "the run has ended"
        if isinstance(error, asyncio.CancelledError) and reason is not None:
            return f"the run was cancelled: {reason}" if reason else "the run was cancelled"
        return f"the run failed: {summarize_exception(error)}"

    def _close(self) -> bool:
        run = self._run
        self.stage = Stage.CLOSED
        error = self._error()
        self._take_back()
        if error is None:
            assert run.root is not None
            try:
                result = run.definition.result
                payload, detail = run.payloads.seal(result.encode(run.root.result()), result.has_secrets)
            except Exception as failure:  # noqa: BLE001 - a result that cannot be recorded fails the run
                if isinstance(failure, EncodeError):
                    failure.blame(f"the result of workflow {run.definition.name!r}")
                run.failure = failure
                self.stage = Stage.LEFTOVER
                return True
            run.status = RunStatus.COMPLETED
            if run.rollback is RollbackStatus.FAILED:
                run.rollback = RollbackStatus.NONE  # workflow code has heard of it and went on: nothing is left to do
            run.issuer.issue(CompleteRun(None, None, detail, payload))
        elif isinstance(error, asyncio.CancelledError) and run.cancel_reason is not None:
            run.status = RunStatus.CANCELLED
            run.issuer.issue(CancelRun(None, None, write_detail(reason=run.cancel_reason)))
        else:
            run.status = RunStatus.FAILED
            run.failure_text = type(error).__name__ if run.payloads.envelope.encrypts else summarize_exception(error)
            run.issuer.issue(FailRun(None, None, None, run.payloads.record(error)))
        run.close_tasks()
        return False

    def _take_back(self) -> None:
        """Cancel what is open. What becomes of children is theirs to say: ``on_parent_close``."""
        for waiter in list(self._run.open.values()):
            if not isinstance(waiter.command, StartChild):
                waiter.cancel()

    # -- continue-as-new ----------------------------------------------------------------------------------

    def continue_as_new(self, plain: str, payload: str) -> None:
        """Remember the successor's arguments; from here on workflow code can ask for nothing more.

        Raises:
            DefinitionError: it is too late; a run that would have ended well fails with this.
        """
        run = self._run
        if self.is_deaf or run.failure is not None or run.timed_out:
            error = DefinitionError(
                f"workflow {run.definition.name!r} is ending and cannot continue as new; "
                f"call ctx.continue_as_new(...) before the function returns"
            )
            if self._error() is None:
                run.fail(error)
            raise error
        self.successor = (plain, payload)
        run.issuer.refuse("a run that continues as new")
        run.is_over = True
        run.loop.halt()

    def _continue(self) -> None:
        run = self._run
        assert self.successor is not None
        plain, payload = self.successor
        self.stage = Stage.CLOSED
        run.status = RunStatus.CONTINUED_AS_NEW
        run.issuer.refuse(None)
        self._take_back()
        run.mailbox.fail_unfinished("the run continued as new")
        unread = run.mailbox.unread()
        run.close_tasks()  # a scope of a saga that was open hands its compensations to the run's own stack
        carry: dict[str, Any] = {"attempt": run.attempt}
        attributes = {name: value for name, value in run.attributes.items() if value is not None}
        if attributes:
            carry["attributes"] = attributes
        if run.stack.entries:
            carry["compensations"] = [
                {
                    "undoes": e.undoes,
                    "step": e.definition.name,
                    "arguments": run.payloads.seal(e.arguments, e.definition.arguments.has_secrets)[0],
                    "operation": e.operation,
                }
                for e in run.stack.entries
            ]
        if unread:
            carry["messages"] = [list(signal) for signal in unread]
        run.issuer.issue(ContinueRun(run.new_id(), payload, carry, input_digest(plain)))

    def carry_over(self, detail: Mapping[str, Any]) -> None:
        """Take the attempt, the attributes and the compensations of the run before."""
        run = self._run
        run.attempt = int(detail.get("attempt", run.attempt))
        run.attributes.update(detail.get("attributes", {}))
        for entry in detail.get("compensations", ()):
            definition = compensation_step(run.registry.step(entry["step"]))
            arguments = run.payloads.open(entry["arguments"])
            run.stack.push(Compensation(entry["undoes"], definition, arguments, entry["operation"]))

    # -- rollback -----------------------------------------------------------------------------------------

    def _has_to_undo(self) -> bool:
        return bool(self._run.stack.entries) or any(
            isinstance(waiter.command, ScheduleStep | StartChild) and waiter.command.definition.compensation is not None
            for waiter in self._run.open.values()
        )

    def resume_rollback(self) -> None:
        """Go on with a rollback that failed, on request."""
        self.stage = Stage.ROLLBACK
        self._undoing = self._run.loop.spawn(self._undo_all(), name="rollback")

    async def _undo_all(self) -> None:
        try:
            await self.undo(self._run.stack)
        except RollbackFailedError:
            return  # it is on record, and the run's own error is what users see

    async def undo(self, stack: CompensationStack) -> None:
        """Wait for what is still open in a scope, then run its compensations, newest first.

        Raises:
            RollbackFailedError: a compensation failed for good; it and what is below stay registered, with the enclosing
                scope if there is one.
        """
        run = self._run
        before, run.rollback = run.rollback, RollbackStatus.RUNNING
        run.issuer.issue(StartRollback(run.issuer.next_number()))
        await self._wait_for_open_operations(stack)
        while stack.entries:
            entry = stack.entries[-1]
            name = entry.definition.name
            try:
                await self.run_compensation(entry)
            except Exception as error:
                run.rollback = RollbackStatus.FAILED
                detail = write_detail(undoes=entry.undoes, step=name)
                run.issuer.issue(FailRollback(run.issuer.next_number(), name, detail, run.payloads.record(error)))
                stack.end()
                raise RollbackFailedError(
                    f"compensation {name!r} failed for good: {summarize_exception(error)}", step=name
                ) from error
            stack.entries.pop()
        run.rollback = RollbackStatus.COMPLETED if stack is run.stack else before
        run.issuer.issue(CompleteRollback(run.issuer.next_number()))
        stack.end()

    def concerns(self, stack: CompensationStack) -> list[Waiter]:
        """What is open in a scope and must end before the scope is undone: what has a compensation, and what was given up."""
        run = self._run
        found = []
        for waiter in run.open.values():
            command = waiter.command
            if isinstance(command, ScheduleStep):
                matters = command.compensates is None and (
                    command.definition.compensation is not None or waiter.cancel_requested
                )
            else:
                matters = isinstance(command, StartChild) and command.definition.compensation is not None
            if matters and (waiter.scope or run.stack).is_within(stack):
                found.append(waiter)
        return found

    async def _wait_for_open_operations(self, stack: CompensationStack) -> None:
        run = self._run
        while waiting := self.concerns(stack):
            for waiter in waiting:
                waiter.cancel("it is rolled back")
                withdraw(run, waiter, insists=True)
            if self.concerns(stack):
                idle = run.loop.create_future()
                self._idle.append(idle)
                await idle

    def operation_ended(self) -> None:
        """An open operation got its outcome."""
        if self._idle:
            idle, self._idle = self._idle, []
            for future in idle:
                if not future.done():
                    future.set_result(None)

    def run_compensation(self, entry: Compensation) -> Waiter:
        """Schedule one compensation as a durable step."""
        run = self._run
        definition = entry.definition
        payload, digest = run.payloads.seal(entry.arguments, definition.arguments.has_secrets)
        role = write_detail(**{"role": "compensation", "for": entry.undoes, "undoes": entry.operation})
        detail = merge_details(role, definition.detail, digest)
        number = run.issuer.next_number()
        key = f"{run.identity.origin_id}:{number}"
        command = ScheduleStep(number, definition, payload, detail, key, run.now_us, entry.undoes)
        waiter = run.open[number] = Waiter(run, command)
        run.issuer.issue(command)
        return waiter
