"""Everything that can be seen of a run in memory, as JSON: what a replay must bring back."""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from typing import Any

from durable.codec import Envelope
from durable.commands import Command
from durable.history import Event
from durable.info import RunIdentity
from durable.kernel.replayer import Replayer
from durable.registry import Registry
from kernel_model.program import child, interpret, scenes, undo, undoable, work

REGISTRY = Registry([interpret, child], [work, undo, undoable])


def new_replayer() -> Replayer:
    """A replayer at the beginning of the one run that the model knows."""
    numbers = count(1)
    identity = RunIdentity("model", "run-0", interpret.name, "run-0", "run-0")
    return Replayer(
        interpret, identity, registry=REGISTRY, ids=lambda: f"run-{next(numbers)}", envelope=Envelope(), strict=True
    )


def replay(history: list[Event]) -> Replayer:
    """A fresh replayer at the end of a history."""
    replayer = new_replayer()
    replayer.load(history)
    return replayer


def forget(replayer: Replayer) -> None:
    """Evict it, and what the program kept."""
    replayer.evict()
    scenes.pop(id(replayer.context), None)


def written(command: Command) -> list[Any]:
    """What a command says."""
    return [command.kind, command.number, command.name, command.detail, command.payload]


def snapshot(replayer: Replayer) -> dict[str, Any]:
    """The state of a run, comparable between processes."""
    mailbox, recorder = replayer.mailbox, replayer.recorder
    scene = scenes.get(id(replayer.context))
    return {
        "end": [recorder.seq, recorder.batch, recorder.at_us, recorder.hash.hex()],
        "status": [
            replayer.status,
            replayer.rollback,
            replayer.timed_out,
            replayer.cancel_reason,
            replayer.failure_text,
        ],
        "stage": int(replayer.ending.stage),
        "open": [
            [*written(waiter.command), waiter.cancel_requested, waiter.done()] for waiter in replayer.open.values()
        ],
        "wake": replayer.next_wake_us(),
        "undo": [[entry.undoes, entry.definition.name, entry.arguments] for entry in replayer.stack.entries],
        "unread": [list(signal) for signal in mailbox.unread()],
        "listening": {name: sum(not f.done() for f, _ in queue) for name, queue in mailbox.waiting.items()},
        "conditions": sum(not future.done() for _, future in mailbox.conditions),
        "handling": list(mailbox.running.values()),
        "patches": replayer.patches,
        "attributes": replayer.attributes,
        "positions": replayer.positions,
        "random": sha256(repr(replayer.random.getstate()).encode()).hexdigest(),
        "tasks": len(replayer.loop.pending_tasks()),
        "warnings": replayer.warnings,
        "trace": scene.trace if scene is not None else None,
    }
