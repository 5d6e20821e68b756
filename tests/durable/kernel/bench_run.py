"""A run on the kernel alone: facts in, events and commands out, steps answered by the test."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from durable.codec import Envelope, record_exception
from durable.commands import Command, ScheduleStep
from durable.history import Event, EventKind, Fact, write_detail
from durable.info import RunIdentity
from durable.kernel.activation import Activation
from durable.kernel.replayer import Replayer
from durable.registry import Registry

SECOND = 1_000_000


class KernelRun:
    """A replayer, its history, and the clock that the test moves."""

    def __init__(self, workflow: Any, *args: Any, strict: bool = True, seed: str = "1", **kwargs: Any) -> None:
        self.workflow = workflow
        self.envelope = Envelope()
        self.strict = strict
        self.now_us = 1_000 * SECOND
        self.history: list[Event] = []
        self.commands: list[Command] = []
        self.last = Activation()
        self.replayer = self.fresh()
        payload = self.envelope.seal(workflow.arguments.encode(args, kwargs))
        self.apply(
            Fact(
                EventKind.RUN_STARTED,
                detail=write_detail(seed=seed, salt=7, timeout_us=workflow.timeout_us),
                payload=payload,
            )
        )

    def fresh(self) -> Replayer:
        numbers = itertools.count(1)
        identity = RunIdentity("w", "0" * 36, self.workflow.name, "origin", "0" * 36)
        return Replayer(
            self.workflow,
            identity,
            registry=Registry([self.workflow]),
            ids=lambda: f"id-{next(numbers)}",
            strict=self.strict,
        )

    def apply(self, *facts: Fact) -> Activation:
        self.last = activation = self.replayer.activate(facts, self.now_us, "worker")
        self.history += activation.events
        self.commands += activation.commands
        return activation

    def advance(self, seconds: float) -> Activation:
        self.now_us += round(seconds * SECOND)
        return self.apply()

    def number_of(self, name: str) -> int:
        return next(c.number for c in self.commands if c.name == name and c.number in self.replayer.open and c.number)

    def completed(self, name: str, value: Any = None) -> Fact:
        return Fact(EventKind.STEP_COMPLETED, self.number_of(name), name, None, self.seal(value))

    def failed(self, name: str, error: Exception) -> Fact:
        payload = self.envelope.seal(record_exception(error))
        return Fact(EventKind.STEP_FAILED, self.number_of(name), name, None, payload)

    def seal(self, value: Any) -> str:
        from durable.codec import value_codec

        return self.envelope.seal(value_codec(type(value) if value is not None else Any).encode(value))

    def run_steps(self, answer: Callable[[ScheduleStep], Any]) -> None:
        """Answer every scheduled step until none is left."""
        while scheduled := [c for c in self.last.commands if isinstance(c, ScheduleStep)]:
            self.apply(
                *(Fact(EventKind.STEP_COMPLETED, c.number, c.name, None, self.seal(answer(c))) for c in scheduled)
            )

    def replayed(self, history: list[Event] | None = None) -> Replayer:
        """A fresh replayer that has seen the history."""
        replayer = self.fresh()
        replayer.load(self.history if history is None else history)
        return replayer

    def kinds(self, history: list[Event] | None = None) -> list[str]:
        return [str(event.kind) for event in (self.history if history is None else history)]


def signal(name: str, payload: str, message_id: str = "m", actor: str = "user:alice") -> Fact:
    return Fact(EventKind.SIGNAL_RECEIVED, None, name, write_detail(message_id=message_id), payload, actor)


def cancel(reason: str = "") -> Fact:
    return Fact(EventKind.CANCEL_REQUESTED, detail=write_detail(reason=reason), actor="user:alice")


def update(name: str, payload: str, update_id: str = "u") -> Fact:
    return Fact(EventKind.UPDATE_ACCEPTED, None, name, write_detail(update_id=update_id), payload, "user:alice")
