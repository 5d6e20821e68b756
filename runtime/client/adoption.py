"""Children of a run that is retried: what they did stays done, so the new run goes on with them (rule H7).

A child that was open when its parent ended, or whose failure was its end, is retried together with it: its new run
belongs to the parent's new run and keeps its own origin id. One that has completed by now delivers its result.
Where neither can be, the new parent starts a child anew, but never if that would repeat a step that must not run twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from durable.errors import RunNotRetriableError
from durable.handle import RollbackStatus, RunStatus
from durable.history import Event, EventKind, Fact, split_batches
from runtime.store.row import NewRun, RunRow
from runtime.store.whole import read_whole_history

if TYPE_CHECKING:
    from runtime.client.client import Client

Prepare = Callable[[RunRow, int], Awaitable[NewRun]]
"""Prepares the retry of a child that answers a command of the new run."""

CHILD_ENDS: Final = frozenset({EventKind.CHILD_COMPLETED, EventKind.CHILD_FAILED})


@dataclass(frozen=True, slots=True)
class Adoption:
    """What the new run needs to go on with its children.

    Attributes:
        runs: retries of children, and of theirs.
        facts: results of those that have completed since.
    """

    runs: Sequence[NewRun] = ()
    facts: Sequence[Fact] = ()


def open_children(batches: Sequence[Sequence[Event]]) -> list[Event]:
    """The starts of children that have no outcome in these batches."""
    ended = {event.command for batch in batches for event in batch if event.kind in CHILD_ENDS}
    return [e for batch in batches for e in batch if e.kind == EventKind.CHILD_STARTED and e.command not in ended]


async def adopt_children(
    client: Client, row: RunRow, batches: Sequence[Sequence[Event]], prepare: Prepare, seal: Callable[[str], str]
) -> Adoption | None:
    """Let the run that retries ``row`` go on with the children that were open before the last batch.

    Args:
        seal: puts a result into an envelope for the new run.

    Returns:
        None if one of them cannot go on: it was never created, was replaced, or was asked to cancel.

    Raises:
        RunNotRetriableError: one of them is still open, or cannot be retried.
    """
    completed = {event.command for event in batches[-1] if event.kind == EventKind.CHILD_COMPLETED}
    unwanted = {e.command for batch in batches[:-1] for e in batch if e.kind == EventKind.CHILD_CANCEL_REQUESTED}
    runs: list[NewRun] = []
    facts: list[Fact] = []
    for event in open_children(batches[:-1]):
        if event.command in completed:
            continue  # delivered again, with the other facts of the last batch
        child = await _newest(client, event)
        if child is None or event.command in unwanted:
            return None
        if not child.status.is_closed:
            raise RunNotRetriableError(
                f"{row.workflow_id!r} cannot be retried yet: its child {child.workflow_id!r} is {child.status}; wait for its "
                "end, or terminate it"
            )
        assert event.command is not None
        if child.status is RunStatus.COMPLETED:
            facts.append(await _result(client, child, event.command, seal))
            continue
        if await _stays_cancelled(client, child):
            return None
        new = await prepare(child, event.command)
        runs += [replace(new, children=()), *new.children]
    return Adoption(runs, facts)


async def check_forgotten(client: Client, row: RunRow, dropped: Sequence[Event]) -> None:
    """Refuse to forget children that did what must not be done twice.

    Raises:
        RunNotRetriableError: naming the step.
    """
    never = {e.command for e in dropped if e.kind == EventKind.CHILD_FAILED and e.details.get("error") == "exists"}
    for event in dropped:
        if event.kind == EventKind.CHILD_STARTED and event.command not in never:
            step = await _unrepeatable(client, event)
            if step is not None:
                raise RunNotRetriableError(
                    f"{row.workflow_id!r} cannot be retried: its child {event.details['workflow_id']!r} would begin anew, and "
                    f"{step}; start a new run instead"
                )


def once_kind(event: Event) -> str | None:
    """``at_most_once`` or ``transactional`` if an event schedules a step that must not run again, else None."""
    options = event.details.get("options") or {} if event.kind == EventKind.STEP_SCHEDULED else {}
    if options.get("delivery") == "at_most_once":
        return "at_most_once"
    return "transactional" if options.get("transactional") else None


def done_once(events: Sequence[Event], history: Sequence[Event], begun: frozenset[int]) -> str | None:
    """Which of the steps that these events schedule must not run again, in words; None if there is none.

    Args:
        history: of the run.
        begun: commands of which an attempt is on record.
    """
    done = {event.command for event in history if event.kind == EventKind.STEP_COMPLETED}
    for event in events:
        kind = once_kind(event)
        if kind == "at_most_once" and (event.command in begun or event.command in done):
            return f"step {event.name!r} runs at most once and may have run"
        if kind == "transactional" and event.command in done:
            return f"transactional step {event.name!r} has run, exactly once"
    return None


def hopeless_step(history: Sequence[Event]) -> str | None:
    """The name of the at-most-once step whose failure or doubt ended a run: a retry gets the same error. None if it was another."""
    last = history[-1].batch if history else 0
    failed = {event.command for event in history if event.batch == last and event.kind == EventKind.STEP_FAILED}
    steps = (e.name for e in history if e.command in failed and once_kind(e) == "at_most_once")
    return next(steps, None)


async def _newest(client: Client, event: Event) -> RunRow | None:
    """The newest run of a child; None if it was never created, was purged or was replaced."""
    first = await client.store.get_run_by_id(event.details["run_id"])
    newest = await client.store.get_run(event.details["workflow_id"])
    if first is None or newest is None or newest.first_run_id != first.first_run_id:
        return None
    return newest


async def _result(client: Client, child: RunRow, command: int, seal: Callable[[str], str]) -> Fact:
    history = await read_whole_history(client.store, child)
    event = next(event for event in reversed(history) if event.kind == EventKind.RUN_COMPLETED)
    payload = event.payload
    if payload is not None:
        payload = seal(client.envelope.open(payload, await client.store.read_blobs(child.run_id)))
    return Fact(EventKind.CHILD_COMPLETED, command, child.workflow, None, payload, f"run:{child.workflow_id}")


async def _stays_cancelled(client: Client, child: RunRow) -> bool:
    """Whether the request to cancel is in what a retry of the child takes over: then it would cancel again."""
    if child.rollback is RollbackStatus.COMPLETED:
        return False
    batches = list(split_batches(await read_whole_history(client.store, child)))
    return any(event.kind == EventKind.CANCEL_REQUESTED for batch in batches[:-1] for event in batch)


async def _unrepeatable(client: Client, start: Event) -> str | None:
    """What a child, or one of its own, did that must not be done twice, in words."""
    run = await client.store.get_run_by_id(start.details["run_id"])
    if run is None:
        return "what it did is not known any more, because it was purged"
    while run is not None:
        if run.rollback is not RollbackStatus.COMPLETED:
            history = await read_whole_history(client.store, run)
            attempts = await client.store.read_attempts(run.run_id)
            step = done_once(history, history, frozenset(attempt.command for attempt in attempts))
            for event in history:
                if step is None and event.kind == EventKind.CHILD_STARTED:
                    step = await _unrepeatable(client, event)
            if step is not None:
                return step
        run = await client.store.successor(run.run_id)
    return None
