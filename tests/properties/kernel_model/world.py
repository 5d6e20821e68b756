"""The world around a run: it answers what the run asks for, in any order that it likes, and keeps the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable.codec import Envelope, record_exception, value_codec
from durable.commands import AskQuestion, Command, ScheduleStep, SendMessage, StartChild
from durable.handle import RollbackStatus
from durable.history import KERNEL_VERSION, Event, EventKind, Fact, verify_chain, write_detail
from durable.kernel.activation import Activation
from durable.kernel.replayer import Replayer
from kernel_model.program import Node, interpret, scenes
from kernel_model.snapshot import forget, new_replayer, replay, snapshot, written

SECOND = 1_000_000
LATE = (EventKind.STEP_COMPLETED, EventKind.CHILD_COMPLETED, EventKind.QUESTION_ANSWERED)
BEGINNING = 1_700_000_000 * SECOND

_envelope = Envelope()


def seal(value: Any) -> str:
    """The payload of a JSON value."""
    return _envelope.seal(value_codec(Any).encode(value))


def failure(label: int) -> str:
    """The payload of an exception."""
    return _envelope.seal(record_exception(ValueError(label)))


class World:
    """One run, kept in memory and replayed from its history for every turn; both must do the same.

    Attributes:
        kept: the run as a worker keeps it.
        history: all events so far.
        now_us: the world's clock.
    """

    def __init__(self, program: Node, salt: int, timeout: int | None) -> None:
        self.kept: Replayer = new_replayer()
        self.history: list[Event] = []
        self.now_us = BEGINNING
        detail = write_detail(
            kernel=KERNEL_VERSION, seed=f"seed-{salt}", salt=salt, timeout_us=timeout and timeout * SECOND
        )
        payload = _envelope.seal(interpret.arguments.encode((program,), {}))
        self.turn([Fact(EventKind.RUN_STARTED, detail=detail, payload=payload, actor="user:alice")])

    @property
    def is_closed(self) -> bool:
        """Whether the run has ended for ever."""
        return self.kept.status.is_closed

    @property
    def trace(self) -> list[Any]:
        """What the code has seen."""
        return scenes[id(self.kept.context)].trace

    def turn(self, facts: Sequence[Fact], later_us: int = 0) -> None:
        """Give the run facts, in memory and replayed, and compare."""
        self.now_us += later_us
        kept = self.kept.activate(facts, self.now_us, "worker")
        replayed = replay(self.history)
        again = replayed.activate(facts, self.now_us, "worker")
        assert _said(again) == _said(kept)
        assert snapshot(replayed) == snapshot(self.kept)
        forget(replayed)
        self.history += kept.events
        verify_chain(self.history)

    def close(self) -> None:
        """Forget the run."""
        forget(self.kept)

    # -- what may happen ----------------------------------------------------------------------------------

    def possible_facts(self) -> list[Fact]:
        """Every answer to what is open, messages, and what comes too late; an answer is as likely as a message."""
        answers = [fact for number, waiter in self.kept.open.items() for fact in _answers(number, waiter.command)]
        late = [event for event in self.history if event.kind in LATE]
        return [
            *(answers * 3),
            *(
                Fact(EventKind.SIGNAL_RECEIVED, name=name, payload=seal(value), actor="user:bob")
                for name, value in (("go", 1), ("tick", 1), ("tick", -1), ("go", "misfit"), ("unknown", 1))
            ),
            *(self._update(value) for value in (0, 5)),
            Fact(EventKind.CANCEL_REQUESTED, detail=write_detail(reason="enough"), actor="user:bob"),
            *(Fact(event.kind, event.command, event.name, None, event.payload) for event in late[-1:]),
            *([Fact(EventKind.ROLLBACK_REQUESTED)] if self.kept.rollback is RollbackStatus.FAILED else []),
        ]

    def _update(self, value: int) -> Fact:
        detail = write_detail(update_id=f"u{len(self.history)}-{value}")
        return Fact(EventKind.UPDATE_ACCEPTED, None, "bump", detail, seal(value), "user:bob")

    # -- the end ------------------------------------------------------------------------------------------

    def settle(self, limit: int = 300) -> None:
        """Let everything happen that the run waits for, until it ends, and with it a rollback that was ordered again."""
        for _ in range(limit):
            if self.is_closed and self.kept.rollback is not RollbackStatus.RUNNING:
                return
            facts = [answers[0] for n, w in self.kept.open.items() if (answers := _answers(n, w.command))]
            mailbox = self.kept.mailbox
            if any(not future.done() for queue in mailbox.waiting.values() for future, _ in queue):
                facts.append(Fact(EventKind.SIGNAL_RECEIVED, name="go", payload=seal(1), actor="user:bob"))
            if mailbox.conditions:
                facts.append(Fact(EventKind.SIGNAL_RECEIVED, name="tick", payload=seal(1), actor="user:bob"))
            wake = self.kept.next_wake_us()
            self.turn(facts, max(0, wake - self.now_us) if wake is not None and not facts else 0)
        raise AssertionError(f"the run does not end: {snapshot(self.kept)}")


def _answers(number: int, command: Command) -> list[Fact]:
    """How an operation may end, the good way first. Timers are the clock's."""
    name = command.name
    if isinstance(command, ScheduleStep):
        return [
            Fact(EventKind.STEP_COMPLETED, number, name, None, seal(None if name == "undo" else number)),
            Fact(EventKind.STEP_FAILED, number, name, None, failure(number)),
            Fact(EventKind.STEP_CANCELLED, number, name),
        ]
    if isinstance(command, StartChild):
        return [
            Fact(EventKind.CHILD_COMPLETED, number, name, None, seal(number)),
            Fact(EventKind.CHILD_FAILED, number, name, write_detail(error="failed"), failure(number)),
            Fact(EventKind.CHILD_FAILED, number, name, write_detail(error="cancelled")),
        ]
    if isinstance(command, SendMessage):
        return [
            Fact(EventKind.MESSAGE_DELIVERED, number, name),
            Fact(EventKind.MESSAGE_FAILED, number, name, write_detail(error="not_found")),
        ]
    if isinstance(command, AskQuestion):
        return [
            Fact(EventKind.QUESTION_ANSWERED, number, name, None, seal(number), "user:carol"),
            Fact(EventKind.QUESTION_ANSWERED, number, name, None, seal("misfit"), "user:carol"),
        ]
    return []


def _said(activation: Activation) -> list[Any]:
    """What came of a turn. Log lines are left out: the garbage collector adds some, when it likes."""
    return [
        activation.events,
        [written(command) for command in activation.commands],
        activation.rejections,
        activation.unread,
    ]
