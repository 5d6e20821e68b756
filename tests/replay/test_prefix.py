"""Replaying any prefix of a history that ends at a batch leads to the same place, and from there to the same commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from durable.errors import DeterminismError, NondeterminismError
from durable.history import FACTS, Event, EventKind, Fact, split_batches, verify_chain
from durable.kernel.describe import waiting_for
from durable.kernel.replayer import Replayer
from replay.corpus import SHAPES, Recording, record

BY_THE_KERNEL = frozenset({EventKind.TIMER_FIRED, EventKind.RUN_TIMED_OUT})
"""Facts that the kernel finds by itself when their time has come."""

WITH_TRACEBACKS = frozenset({EventKind.RUN_FAILED, EventKind.UPDATE_FAILED})
"""Records whose payload tells where in this process the error came from."""


def replayer_of(recording: Recording) -> Replayer:
    """A replayer at the beginning of a run; the ids that it makes up are the recorded ones."""
    ids = [
        event.details["run_id"]
        for event in recording.history
        if event.kind in (EventKind.CHILD_STARTED, EventKind.RUN_CONTINUED)
    ]
    return Replayer(
        recording.definition, recording.identity, registry=recording.registry, ids=iter(ids).__next__, strict=True
    )


def load(recording: Recording, batches: Sequence[Sequence[Event]]) -> Replayer:
    """Replay some batches."""
    replayer = replayer_of(recording)
    replayer.load([event for batch in batches for event in batch], recording.blobs)
    return replayer


def state_of(replayer: Replayer) -> dict[str, Any]:
    """What decides how a run goes on, apart from its coroutines."""
    return {
        "place": (replayer.recorder.seq, replayer.recorder.batch, replayer.recorder.at_us),
        "time": (replayer.now_us, replayer.loop.time(), replayer.next_wake_us()),
        "status": (replayer.status, replayer.rollback, replayer.cancel_reason, replayer.ending.stage),
        "waits for": waiting_for(replayer),
        "open": {number: (waiter.command.kind, waiter.done()) for number, waiter in replayer.open.items()},
        "undo": [(entry.undoes, entry.definition.name, entry.arguments) for entry in replayer.stack.entries],
        "unread": replayer.mailbox.unread(),
        "handlers": list(replayer.mailbox.handlers),
        "attributes": replayer.attributes,
        "patches": replayer.patches,
        "streams": replayer.positions,
        "randomness": hash(replayer.random.getstate()),
        "tasks": [task.get_name() for task in replayer.loop.pending_tasks()],
    }


def facts_of(batch: Sequence[Event]) -> list[Fact]:
    """What came from outside in a batch."""
    return [
        Fact(event.kind, event.command, event.name, event.detail, event.payload, event.actor)
        for event in batch
        if event.kind in FACTS and event.kind not in BY_THE_KERNEL
    ]


def worker_of(batch: Sequence[Event]) -> str:
    """Who applied a batch."""
    return next((event.actor for event in batch if event.kind not in FACTS), "")


def told(events: Sequence[Event]) -> list[Event]:
    """Events as far as they must be equal."""
    return [
        event._replace(hash=b"", payload=None if event.kind in WITH_TRACEBACKS else event.payload) for event in events
    ]


def cuts(recording: Recording) -> Iterator[tuple[list[list[Event]], list[Event]]]:
    """Every prefix that ends at a batch, and the batch that follows."""
    batches = [list(batch) for batch in split_batches(recording.history)]
    for cut, batch in enumerate(batches):
        yield batches[:cut], batch


def test_the_corpus_has_the_shapes_that_matter():
    wanted = {
        "sequential", "parallel_gather", "task_group", "anyio_group", "retrying", "timers", "signals", "updates", "children",
        "continue_as_new", "at_most_once", "cancelled", "waiting_for_a_person", "compensation",
    }  # fmt: skip
    assert wanted <= set(SHAPES)
    told_of = {event.kind for name in SHAPES for recording in record(name) for event in recording.history}
    assert set(EventKind) == told_of


@pytest.mark.parametrize("name", SHAPES)
def test_every_prefix_leads_to_the_same_commands(name):
    """Semantics 37: replaying any prefix of a history gives the same commands."""
    for recording in record(name):
        verify_chain(recording.history)
        for prefix, batch in cuts(recording):
            replayer = load(recording, prefix)
            activation = replayer.activate(facts_of(batch), batch[0].at_us, worker_of(batch), recording.blobs)
            produced = activation.events[: len(batch)]
            assert told(produced) == told(batch)
            commands = [command for command in activation.commands if _is_in(command, batch)]
            assert [(command.number, command.kind, command.name) for command in commands] == [
                (event.command, event.kind, event.name) for event in batch if event.kind not in FACTS
            ]
            replayer.evict()


def _is_in(command: Any, batch: Sequence[Event]) -> bool:
    return any((command.number, command.kind, command.name) == (e.command, e.kind, e.name) for e in batch)


@pytest.mark.parametrize("name", SHAPES)
def test_every_prefix_leads_to_the_same_place_as_living_through_it(name):
    """Semantics 37: a run that was replayed up to a batch stands where the one stands that lived through the batch."""
    for recording in record(name):
        for prefix, batch in cuts(recording):
            lived = load(recording, prefix)
            activation = lived.activate(facts_of(batch), batch[0].at_us, worker_of(batch), recording.blobs)
            replayed = load(recording, [*prefix, batch])
            if len(activation.events) == len(batch):  # else it lived through the next one as well
                assert state_of(replayed) == state_of(lived)
            again = load(recording, [*prefix, batch])
            assert state_of(again) == state_of(replayed)
            for replayer in (lived, replayed, again):
                replayer.evict()


@pytest.mark.parametrize("name", SHAPES)
def test_replay_says_nothing_and_warns_of_nothing(name):
    """Semantics 37: replay writes nothing, logs nothing, calls nothing."""
    for recording in record(name):
        replayer = load(recording, list(split_batches(recording.history)))
        assert (replayer.logs, replayer.warnings, replayer.loop.complaints) == ([], [], [])
        assert replayer.payloads.envelope.take_blobs() == {}
        replayer.evict()


@pytest.mark.parametrize("name", SHAPES)
def test_a_history_that_is_not_this_workflows_is_found_out(name):
    """The tests above can fail: another shape's code does not pass for this one's."""
    recording = record(name)[0]
    other = SHAPES["sequential" if name != "sequential" else "retrying"].definition
    [start, *_] = recording.history
    payload = record(other.name)[0].history[0].payload
    history = [start._replace(payload=payload), *recording.history[1:]]
    replayer = replayer_of(replace(recording, definition=other))
    with pytest.raises((NondeterminismError, DeterminismError)):
        replayer.load(history, recording.blobs)
    replayer.evict()
