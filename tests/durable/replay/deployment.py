"""Two versions of some code: the one that recorded a run, and the one that it is replayed against."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import sys
from collections.abc import Callable, Sequence
from textwrap import dedent
from types import ModuleType
from typing import Any

from durable.codec import INLINE, Envelope, PayloadCodec, record_exception, value_codec
from durable.commands import Command, ScheduleStep
from durable.history import Event, EventKind, Fact, write_detail
from durable.info import RunIdentity
from durable.kernel.replayer import Replayer
from durable.registry import Registry
from durable.replay import Recording, ReplayReport, replay_recording
from durable.workflow import WorkflowDefinition

SECOND = 1_000_000

HEAD = """
import asyncio
import time
from pydantic import BaseModel, Field, model_validator
from durable import Context, Query, Secret, Signal, Update, step, workflow
"""


def code_of(source: str, name: str = "shop") -> ModuleType:
    """A module of this source, in place of the version that was there before."""
    module = ModuleType(name)
    module.__file__ = f"/repo/{name}.py"
    sys.modules[name] = module
    exec(compile(HEAD + dedent(source), module.__file__, "exec"), vars(module))
    return module


def registry_of(module: ModuleType) -> Registry:
    return Registry([value for value in vars(module).values() if isinstance(value, WorkflowDefinition)])


class Life:
    """A run that is lived: its steps are called, what else happens is said by the test.

    An argument that is a function makes it from the module.
    """

    def __init__(
        self, module: ModuleType, workflow: str, *args: Any, codecs: Sequence[PayloadCodec] = (), run_id: str = "run-1"
    ) -> None:
        self.module = module
        self.registry = registry_of(module)
        self.definition = self.registry.workflow(workflow)
        self.identity = RunIdentity("w-1", run_id, workflow, run_id, run_id)
        self.envelope = Envelope(codecs, blob_threshold_bytes=INLINE)
        self.events: list[Event] = []
        self.blobs: dict[str, bytes] = {}
        self.commands: list[Command] = []
        self.now_us = 1_000 * SECOND
        numbers = itertools.count(1)
        self.replayer = Replayer(
            self.definition,
            self.identity,
            registry=self.registry,
            ids=lambda: f"id-{next(numbers)}",
            envelope=self.envelope,
        )
        arguments = self.definition.arguments
        args = tuple(arg(module) if callable(arg) else arg for arg in args)
        payload = self.envelope.seal(arguments.encode(args, {}), secret=arguments.has_secrets)
        self.apply(Fact(EventKind.RUN_STARTED, None, workflow, write_detail(seed="1", salt=7), payload))

    def apply(self, *facts: Fact) -> None:
        """A turn, and those that follow from the results of its steps."""
        activation = self.replayer.activate(facts, self.now_us, "worker", self.blobs)
        self.events += activation.events
        self.blobs.update(activation.blobs)
        self.commands += activation.commands
        for command in activation.commands:
            if isinstance(command, ScheduleStep) and "hangs" not in (command.name or ""):
                self.apply(self._run(command))

    def _run(self, command: ScheduleStep) -> Fact:
        definition = command.definition
        args, kwargs = definition.arguments.decode(self.envelope.open(command.payload or "{}", self.blobs))
        try:
            value = definition.fn(*args, **kwargs)
            if inspect.isawaitable(value):
                value = asyncio.run(_wait(value))
        except Exception as error:
            return Fact(
                EventKind.STEP_FAILED, command.number, command.name, None, self.envelope.seal(record_exception(error))
            )
        payload = self.envelope.seal(definition.result.encode(value), secret=definition.result.has_secrets)
        return Fact(EventKind.STEP_COMPLETED, command.number, command.name, None, payload)

    def advance(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND)
        self.apply()

    def signal(self, name: str, value: Any) -> None:
        payload = self.envelope.seal(value_codec(Any).encode(value))
        self.apply(Fact(EventKind.SIGNAL_RECEIVED, None, name, write_detail(message_id="m"), payload, "user:ann"))

    def update(self, name: str, value: Any) -> None:
        payload = self.envelope.seal(value_codec(Any).encode(value))
        self.apply(Fact(EventKind.UPDATE_ACCEPTED, None, name, write_detail(update_id="u"), payload, "user:ann"))

    def outcome(self, kind: EventKind, value: Any) -> None:
        """The outcome of the newest open operation."""
        number = max(self.replayer.open)
        payload = self.envelope.seal(value_codec(Any).encode(value))
        self.apply(Fact(kind, number, None, None, payload, "user:ann"))

    def cancel(self) -> None:
        self.apply(Fact(EventKind.CANCEL_REQUESTED, None, None, write_detail(reason="enough")))

    @property
    def recording(self) -> Recording:
        """What the run has left; it is lived no further."""
        self.replayer.evict()
        return Recording(self.identity, self.events, self.blobs)


async def _wait(value: Any) -> Any:
    return await value


def deploy(
    old: str,
    new: str | Callable[[str], str],
    live: Callable[[Life], object] = lambda life: None,
    *args: Any,
    workflow: str = "buy",
    codecs: Sequence[PayloadCodec] = (),
    **options: Any,
) -> ReplayReport:
    """Live a run with the old code, and replay it against the new."""
    life = Life(code_of(old), workflow, *args, codecs=codecs)
    live(life)
    text = new if isinstance(new, str) else new(old)
    assert text != old or not callable(new), "the change found nothing to change"
    options.setdefault("codecs", codecs)
    return replay_recording(life.recording, registry_of(code_of(text)), **options)
