"""What runs do to one another in the harness: children, messages, successors, and what the end of a run means to others."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from durable.codec import record_exception
from durable.commands import CancelChild, Command, ContinueRun, SendMessage, StartChild
from durable.duration import to_us
from durable.history import EventKind, Fact, write_detail
from durable.info import RunIdentity
from durable.kernel.activation import Activation
from durable.kernel.correspondence import (
    PARENT_ENDED,
    author,
    child_cancellation,
    child_exists,
    child_outcome,
    child_start,
    message,
    receipt,
    successor_start,
)
from durable.kernel.replayer import Replayer
from durable.testing.simulated import SimulatedRun
from durable.testing.stub import StepCall, Stub, bound_arguments

if TYPE_CHECKING:
    from durable.testing.clock import VirtualAlarm
    from durable.testing.fulfiller import Fulfiller


class Relations:
    """The runs of an environment by workflow id, and what passes between them.

    Attributes:
        current: the newest run of every workflow id.
    """

    def __init__(self, fulfiller: Fulfiller) -> None:
        self._host = fulfiller
        self.current: dict[str, SimulatedRun] = {}
        self._seen: dict[str, set[str]] = {}
        self._stubbed: dict[tuple[str, int], VirtualAlarm | asyncio.Future[Any]] = {}

    def add(self, run: SimulatedRun, start: Fact) -> None:
        """Keep a new run with its start."""
        self._host.registry.add_workflow(run.definition)
        self._host.runs[run.run_id] = self.current[run.workflow_id] = run
        self._host.accept(run, start)

    def post(self, workflow_id: str, run_id: str | None, fact: Fact, message_id: str | None = None) -> str | None:
        """Deliver a message; returns why not: ``not_found`` or ``closed``."""
        run = self._host.runs.get(run_id) if run_id is not None else self.current.get(workflow_id)
        if run is None:
            return "not_found"
        run = run.newest
        if run.status.is_closed and fact.kind != EventKind.ROLLBACK_REQUESTED:
            return "closed"
        seen = self._seen.setdefault(run.workflow_id, set())
        if message_id is not None and message_id in seen:
            return None
        if message_id is not None:
            seen.add(message_id)
        self._host.accept(run, fact)
        return None

    def carry_out(self, run: SimulatedRun, command: Command) -> None:
        """Do what a command asks of another run; others ask nothing."""
        if isinstance(command, StartChild):
            self._start_child(run, command)
        elif isinstance(command, CancelChild):
            self._cancel_child(run, command)
        elif isinstance(command, SendMessage):
            assert command.number is not None
            message_id = f"{run.run_id}:{command.number}"
            fact = message(run.workflow_id, message_id, command)
            error = self.post(command.workflow_id, command.run_id, fact, message_id)
            self._host.accept(run, receipt(command.number, fact, error))
        elif isinstance(command, ContinueRun):
            self._continue(run, command)

    # -- children -----------------------------------------------------------------------------------------

    def _start_child(self, run: SimulatedRun, command: StartChild) -> None:
        definition, options = command.definition, command.definition.start_options
        stub = self._host.stubs.get(definition.name)
        if stub is not None:
            self._start_stub(run, command, stub)
            return
        holder = self.current.get(command.workflow_id)
        if holder is not None and not (options.on_conflict == "replace" and holder.status.is_closed):
            self._host.accept(run, child_exists(run.workflow_id, command.number, definition.name))
            return
        identity = RunIdentity(
            command.workflow_id, command.run_id, definition.name, command.run_id, command.run_id, run.run_id
        )
        delay_us = to_us(options.delay) if options.delay is not None else 0
        child = SimulatedRun(
            definition,
            identity,
            author(run.workflow_id),
            command.input_digest,
            self._host.clock.now_us() + delay_us,
            (run, command),
            options.on_parent_close,
        )
        run.children.append(child)
        self.add(child, child_start(run.workflow_id, command))

    def _cancel_child(self, run: SimulatedRun, command: CancelChild) -> None:
        pending = self._stubbed.pop((run.run_id, command.number or 0), None)
        if pending is None:
            self.post(command.workflow_id, command.run_id, child_cancellation(run.workflow_id, command))
            return
        pending.cancel()
        detail = write_detail(error="cancelled", reason=command.reason)
        actor = author(command.workflow_id)
        self._host.accept(run, Fact(EventKind.CHILD_FAILED, command.number, command.name, detail, actor=actor))

    def _start_stub(self, run: SimulatedRun, command: StartChild, stub: Stub) -> None:
        host, definition = self._host, command.definition
        assert command.number is not None
        key, actor = (run.run_id, command.number), author(command.workflow_id)
        args, kwargs = definition.arguments.decode(host.envelope.open(command.payload or "{}"))
        arguments = bound_arguments(definition.fn, (None, *args), kwargs)
        arguments.pop(next(iter(arguments)))  # the context
        host.record_call(StepCall(definition.name, arguments, 1, host.clock.now(), run.workflow_id))

        def complete(value: Any) -> None:
            payload = host.envelope.seal(definition.result.encode(value), secret=definition.result.has_secrets)
            host.accept(run, Fact(EventKind.CHILD_COMPLETED, command.number, definition.name, None, payload, actor))

        def fail(error: BaseException) -> None:
            if isinstance(error, AssertionError):
                host.give_up(error)
            payload = host.envelope.seal(record_exception(error))
            detail = write_detail(error="failed")
            host.accept(run, Fact(EventKind.CHILD_FAILED, command.number, definition.name, detail, payload, actor))

        async def follow(value: Awaitable[Any]) -> None:
            try:
                complete(await value)
            except Exception as error:  # noqa: BLE001 - whatever the stub raises is the child's failure
                fail(error)
            finally:
                self._stubbed.pop(key, None)

        def answer() -> None:
            self._stubbed.pop(key, None)
            try:
                value = stub.call(args, kwargs)
                if inspect.isawaitable(value):
                    task = asyncio.get_running_loop().create_task(follow(value))
                    self._stubbed[key] = task
                    host.steps.live.add(task)
                    task.add_done_callback(host.steps.live.discard)
                    task.add_done_callback(lambda _: host.notify())
                else:
                    complete(value)
            except Exception as error:  # noqa: BLE001 - the same
                fail(error)

        if stub.after_us:
            self._stubbed[key] = host.clock.call_at(host.clock.now_us() + stub.after_us, answer)
        else:
            answer()

    # -- ends ---------------------------------------------------------------------------------------------

    def _continue(self, run: SimulatedRun, command: ContinueRun) -> None:
        replayer = run.replayer
        assert replayer is not None
        identity = replace(run.identity, run_id=command.run_id, origin_id=command.run_id)
        now_us = self._host.clock.now_us()
        successor = SimulatedRun(
            run.definition, identity, run.actor, command.input_digest, now_us, run.parent, run.on_parent_close,
            attributes={name: value for name, value in replayer.attributes.items() if value is not None},
        )  # fmt: skip
        successor.updates = {key: value for key, value in run.updates.items() if value[0] == "pending"}
        run.successor = successor
        if run.parent is not None:
            run.parent[0].children.append(successor)
        self.add(successor, successor_start(run.run_id, run.actor, replayer.parent_workflow_id, command))

    def close(self, run: SimulatedRun, replayer: Replayer, activation: Activation) -> None:
        """What follows from the end of a run."""
        host = self._host
        if run.successor is not None:
            for fact in activation.unread:
                if fact.command is None:
                    host.accept(run.successor, fact)
        run.questions.clear()
        run.updates = {key: ("closed", None) if value[0] == "pending" else value for key, value in run.updates.items()}
        for execution in list(run.steps.values()):
            host.steps.settle(execution)
        for child in self.open_children(run, replayer):
            self._close_child(child)
        if run.parent is not None:
            parent, command = run.parent
            outcome = child_outcome(run.workflow_id, run.workflow, command.number, run.ending, run.ending.payload)
            if outcome is not None and not parent.status.is_closed:
                host.accept(parent, outcome)
        host.verify(run)

    def open_children(self, run: SimulatedRun, replayer: Replayer) -> list[SimulatedRun]:
        """The children to which ``on_parent_close`` applies: one that was asked to cancel ends by itself."""
        numbers = {
            number
            for number, waiter in replayer.open.items()
            if isinstance(waiter.command, StartChild) and not waiter.cancel_requested
        }
        return [child for child in run.children if child.parent is not None and child.parent[1].number in numbers]

    def _close_child(self, child: SimulatedRun) -> None:
        if child.status.is_closed or child.on_parent_close == "abandon":
            return
        kind = EventKind.CANCEL_REQUESTED if child.on_parent_close == "cancel" else EventKind.RUN_TERMINATED
        self._host.accept(child, Fact(kind, detail=write_detail(reason=PARENT_ENDED), actor="harness"))

    def terminate(self, run: SimulatedRun, reason: str, actor: str) -> None:
        """End a run without its code."""
        self._host.accept(run, Fact(EventKind.RUN_TERMINATED, detail=write_detail(reason=reason or None), actor=actor))
