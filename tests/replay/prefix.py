"""A history in parts: replayed up to any batch, and lived through from there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from durable.history import FACTS, Event, EventKind, Fact, split_batches
from durable.kernel.describe import waiting_for
from durable.kernel.replayer import Replayer
from replay.recording import Recording

BY_THE_KERNEL = frozenset({EventKind.TIMER_FIRED, EventKind.RUN_TIMED_OUT})
"""Facts that the kernel finds by itself when their time has come."""

WITH_ERRORS = frozenset({EventKind.RUN_FAILED, EventKind.UPDATE_FAILED, EventKind.ROLLBACK_FAILED})
"""Records whose payload is an exception of this process."""

OF_THIS_PROCESS = frozenset({"traceback", "notes"})
"""What a recorded exception tells of where it was raised: files and lines."""


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
    try:
        replayer.load([event for batch in batches for event in batch], recording.blobs)
    except BaseException:
        replayer.evict()
        raise
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


def facts_of(events: Sequence[Event]) -> list[Fact]:
    """What came from outside. A cancellation comes last: that it is applied first is the kernel's doing."""
    facts = [
        Fact(event.kind, event.command, event.name, event.detail, event.payload, event.actor)
        for event in events
        if event.kind in FACTS and event.kind not in BY_THE_KERNEL
    ]
    return sorted(facts, key=lambda fact: fact.kind == EventKind.CANCEL_REQUESTED)


def worker_of(batch: Sequence[Event]) -> str:
    """Who applied a batch."""
    return next((event.actor for event in batch if event.kind not in FACTS), "")


def told(events: Sequence[Event]) -> list[Event]:
    """Events as far as they must be equal."""
    return [
        event._replace(
            hash=b"",
            payload=_anywhere(event.payload) if event.kind in WITH_ERRORS and event.payload else event.payload,
        )
        for event in events
    ]


def _anywhere(payload: str) -> str:
    """A recorded exception without what differs from process to process."""

    def known(fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name not in OF_THIS_PROCESS}

    return json.dumps(json.loads(payload, object_hook=known))


def cuts(recording: Recording) -> Iterator[tuple[list[list[Event]], list[Event]]]:
    """Every prefix that ends at a batch, and the batch that follows."""
    batches = [list(batch) for batch in split_batches(recording.history)]
    for cut, batch in enumerate(batches):
        yield batches[:cut], batch


def turns(recording: Recording) -> Iterator[tuple[list[list[Event]], list[Event]]]:
    """Every prefix that ends at a turn, and the events of the turn that follows: batches of one moment."""
    batches = [list(batch) for batch in split_batches(recording.history)]
    done = 0
    for _, turn in groupby(batches, key=lambda batch: batch[0].at_us):
        together = list(turn)
        yield batches[:done], [event for batch in together for event in batch]
        done += len(together)


def check_what_follows(recording: Recording, prefix: Sequence[Sequence[Event]], events: Sequence[Event]) -> None:
    """Replay a prefix, and live through what follows: it must come out as it was recorded."""
    replayer = load(recording, prefix)
    try:
        activation = replayer.activate(facts_of(events), events[0].at_us, worker_of(events), recording.blobs)
    finally:
        replayer.evict()
    assert told(activation.events[: len(events)]) == told(events)
    issued = [(event.command, event.kind, event.name) for event in events if event.kind not in FACTS]
    commands = [(command.number, command.kind, command.name) for command in activation.commands]
    assert [command for command in commands if command in issued] == issued
