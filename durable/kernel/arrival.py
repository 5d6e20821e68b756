"""What becomes of facts that are no outcome of an operation: the start, messages, requests of people and of the clock."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from durable.handle import RollbackStatus, RunStatus
from durable.history import Event, EventKind
from durable.interceptor import chain
from durable.kernel.mailbox import Received
from durable.kernel.timers import RUN_DEADLINE

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer


def _run_started(run: Replayer, event: Event) -> None:
    detail = event.details
    run.loop.salt = int(detail.get("salt", 0))
    _reseed(run, detail)
    run.parent_workflow_id = detail.get("parent_workflow_id")
    if (timeout_us := detail.get("timeout_us")) is not None:
        run.deadline_us = event.at_us + timeout_us
        run.timers.set(RUN_DEADLINE, run.deadline_us)
    run.ending.carry_over(detail)
    for name, payload, message_id, actor in detail.get("messages", ()):
        run.mailbox.receive(Received(name, payload, message_id, actor))
    try:
        args, kwargs = run.definition.arguments.decode(run.payloads.open(event.payload or "{}"))
    except Exception as error:  # noqa: BLE001 - the run fails with it
        run.failure = error
        return
    function, context = run.definition.fn, run.context
    if run.interceptors:
        main: Any = chain(run.interceptors, "run_workflow", context, lambda: function(context, *args, **kwargs))()
    else:
        main = function(context, *args, **kwargs)
    run.root = run.loop.spawn(main, name=run.definition.name, context=contextvars.Context())


def _run_forked(run: Replayer, event: Event) -> None:
    _reseed(run, event.details)
    run.attempt = int(event.details.get("attempt", run.attempt))


def _reseed(run: Replayer, detail: Mapping[str, Any]) -> None:
    if "seed" in detail:
        run.random.seed(str(detail["seed"]), version=2)


def _signal_received(run: Replayer, event: Event) -> None:
    run.mailbox.receive(Received(event.name or "", event.payload, event.details.get("message_id"), event.actor))


def _update_accepted(run: Replayer, event: Event) -> None:
    run.mailbox.accept(event)


def _cancel_requested(run: Replayer, event: Event) -> None:
    if not run.ending.is_deaf:  # else its outcome is decided, and what is undone is outside of its timeout (rule S2)
        run.cancel_reason = str(event.details.get("reason", ""))
        run.loop.call_soon(_cancel_root, run)
    else:
        run.ending.give_up_closing()


def _run_timed_out(run: Replayer, event: Event) -> None:  # noqa: ARG001 - one shape for all
    run.timers.clear(RUN_DEADLINE)  # replay has not taken it off, as the activation did
    if not run.ending.is_deaf:
        run.timed_out = True
        run.cancel_reason = "the run's timeout expired"
        run.loop.call_soon(_cancel_root, run)
    else:
        run.ending.give_up_closing()


def _cancel_root(run: Replayer) -> None:
    if run.root is not None and not run.ending.has_begun:
        run.root.cancel(run.cancel_reason or None)
    elif not run.ending.is_deaf:  # the function has returned; its handlers are what is left to cancel
        run.fail(asyncio.CancelledError(run.cancel_reason))


def _run_paused(run: Replayer, event: Event) -> None:  # noqa: ARG001 - one shape for all
    run.status = RunStatus.PAUSED


def _run_resumed(run: Replayer, event: Event) -> None:  # noqa: ARG001 - one shape for all
    run.status = RunStatus.RUNNING


def _rollback_requested(run: Replayer, event: Event) -> None:  # noqa: ARG001 - one shape for all
    run.ending.resume_rollback()


def _run_terminated(run: Replayer, event: Event) -> None:  # noqa: ARG001 - one shape for all
    """End without the code. A rollback that was under way counts as failed, so that it can be resumed."""
    run.status = RunStatus.TERMINATED
    if run.rollback is RollbackStatus.RUNNING:
        run.rollback = RollbackStatus.FAILED
    run.open.clear()
    run.close_tasks()


ARRIVALS: Final[Mapping[str, Callable[[Replayer, Event], None]]] = {
    EventKind.RUN_STARTED: _run_started,
    EventKind.RUN_FORKED: _run_forked,
    EventKind.SIGNAL_RECEIVED: _signal_received,
    EventKind.UPDATE_ACCEPTED: _update_accepted,
    EventKind.CANCEL_REQUESTED: _cancel_requested,
    EventKind.RUN_TIMED_OUT: _run_timed_out,
    EventKind.RUN_PAUSED: _run_paused,
    EventKind.RUN_RESUMED: _run_resumed,
    EventKind.ROLLBACK_REQUESTED: _rollback_requested,
    EventKind.RUN_TERMINATED: _run_terminated,
}
"""How each kind of fact is applied that is no outcome."""
