"""Schema drift: recorded values that today's annotations do not take any more.

The annotation of a value is known where it is read: an outcome's from the operation that waits for it, an answer's from its question,
a message's from its handler. So values are looked at batch by batch, just before the batch is replayed. Once replay has
stopped, what is left goes by the names in history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from durable.codec.arguments import ArgumentsCodec
from durable.codec.value import ValueCodec
from durable.commands import AskQuestion, ScheduleStep, SetAsideMessage, StartChild
from durable.errors import DecodeError, DurableError, MissingCodeError
from durable.history import Event, EventKind, Fact, parse_detail
from durable.replay.report import Misfit

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer
    from durable.messages import Message

Codec = ValueCodec | ArgumentsCodec


class Drift:
    """Looks at the recorded values of one run.

    Args:
        run: the replayer, which is about to replay what is looked at.
        blobs: of the run.

    Attributes:
        misfits: what was found, in order.
    """

    def __init__(self, run: Replayer, blobs: Mapping[str, bytes]) -> None:
        self.misfits: list[Misfit] = []
        self._run = run
        self._blobs = blobs

    # -- before a batch is replayed -----------------------------------------------------------------------

    def look(self, batch: Sequence[Event]) -> None:
        """Decode what a batch brings."""
        for event in batch:
            look = _LOOKS.get(event.kind)
            if look is not None:
                look(self, event, batch)

    def look_at_unread(self, facts: Sequence[Fact]) -> None:
        """Decode what waits to be applied."""
        for fact in facts:
            look = _LOOKS.get(fact.kind)
            if look is not None:
                event = Event(0, 0, fact.kind, 0, fact.actor, fact.command, fact.name, fact.detail, fact.payload, b"")
                look(self, event, ())

    def _look_at_start(self, event: Event, batch: Sequence[Event]) -> None:  # noqa: ARG002 - one shape for all
        definition, detail = self._run.definition, event.details
        self._read(event, event.payload or "{}", definition.arguments, f"the input of workflow {definition.name!r}")
        for name, payload, _, _ in detail.get("messages", ()):
            message = definition.messages.get(name)
            if message is not None and payload is not None:
                self._read(event, payload, message.codec, f"the {message.kind} {name!r} that was carried over")
        for entry in detail.get("compensations", ()):
            try:
                step = self._run.registry.step(entry["step"])
            except MissingCodeError:
                continue  # replay says so
            self._read(event, entry["arguments"], step.arguments, f"the arguments of compensation {step.name!r}")

    def _look_at_outcome(self, event: Event, batch: Sequence[Event]) -> None:  # noqa: ARG002 - one shape for all
        waiter = self._run.open.get(event.command or 0)
        command = waiter.command if waiter is not None else None
        if isinstance(command, ScheduleStep):
            self._read(event, event.payload, command.definition.result, f"the result of step {command.name!r}")
        elif isinstance(command, StartChild):
            self._read(event, event.payload, command.definition.result, f"the result of child {command.name!r}")

    def _look_at_answer(self, event: Event, batch: Sequence[Event]) -> None:
        waiter = self._run.open.get(event.command or 0)
        command = waiter.command if waiter is not None else None
        if isinstance(command, AskQuestion) and not _is_set_aside(command.name, batch):
            self._read(event, event.payload, command.codec, f"the answer to question {command.name!r}")

    def _look_at_signal(self, event: Event, batch: Sequence[Event]) -> None:
        message = self._message(event.name or "")
        if message is not None and event.payload is not None and not _is_set_aside(event.name, batch):
            self._read(event, event.payload, message.codec, f"the signal {event.name!r}")

    def _look_at_update(self, event: Event, batch: Sequence[Event]) -> None:  # noqa: ARG002 - one shape for all
        message = self._message(event.name or "")
        if message is not None and event.payload is not None:
            self._read(event, event.payload, message.codec, f"the update {event.name!r}")

    def _look_at_end(self, event: Event, batch: Sequence[Event]) -> None:  # noqa: ARG002 - one shape for all
        definition = self._run.definition
        self._read(event, event.payload, definition.result, f"the result of workflow {definition.name!r}")

    def _message(self, name: str) -> Message[Any] | None:
        mailbox = self._run.mailbox
        handler = mailbox.handlers.get(name)
        if handler is not None:
            return handler.message
        declared = self._run.definition.messages.get(name)
        if declared is not None:
            return declared
        takers = mailbox.waiting.get(name)
        return takers[0][1] if takers else None

    # -- after replay has found something -----------------------------------------------------------------

    def look_at_difference(self, record: Event) -> None:
        """Decode a recorded input that is not what the code asks for now."""
        waiter = self._run.open.get(record.command or 0)
        command = waiter.command if waiter is not None else None
        if isinstance(command, ScheduleStep | StartChild):
            kind = "step" if isinstance(command, ScheduleStep) else "child"
            self._read(
                record, record.payload, command.definition.arguments, f"the arguments of {kind} {command.name!r}"
            )

    def look_at_refusals(self, batch: Sequence[Event]) -> None:
        """Take what the code has set aside and history has not: a message of a type that only its taker knew."""
        recorded = {event.command for event in batch if event.kind == EventKind.MESSAGE_SET_ASIDE}
        for command in self._run.issuer.batch:
            if not isinstance(command, SetAsideMessage) or command.number in recorded:
                continue
            name, why = repr(command.name), str(parse_detail(command.detail).get("why", ""))
            if not any(name in misfit.subject for misfit in self.misfits):
                self.misfits.append(Misfit(batch[0].seq, EventKind.SIGNAL_RECEIVED, f"the message {name}", "", "", why))

    def look_by_name(self, events: Sequence[Event], history: Sequence[Event]) -> None:
        """Decode the results of steps and children that replay did not reach, by their names."""
        names = {e.command: e for e in history if e.kind in (EventKind.STEP_SCHEDULED, EventKind.CHILD_STARTED)}
        registry = self._run.registry
        for event in events:
            asked = names.get(event.command)
            if asked is None or event.kind not in (EventKind.STEP_COMPLETED, EventKind.CHILD_COMPLETED):
                continue
            kind = "step" if event.kind == EventKind.STEP_COMPLETED else "child"
            try:
                find: Callable[[str], Any] = registry.step if kind == "step" else registry.workflow
                definition = find(asked.name or "")
            except DurableError:
                continue  # it has another name now, or is none of this code any more
            self._read(event, event.payload, definition.result, f"the result of {kind} {asked.name!r}")

    # -- reading ------------------------------------------------------------------------------------------

    def _read(self, event: Event, payload: str | None, codec: Codec, subject: str) -> None:
        try:
            plain = self._run.payloads.envelope.open(payload or '{"v":1,"data":null}', self._blobs)
        except DurableError:
            return  # replay cannot open it either, and says so
        try:
            codec.decode(plain)
        except DecodeError as error:
            self.misfits.append(Misfit(event.seq, event.kind, subject, error.path, _type_of(codec), error.message))


def _type_of(codec: Codec) -> str:
    if isinstance(codec, ArgumentsCodec):
        return f"{codec.owner}({', '.join(codec.parameters)})"
    annotation = codec.annotation
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def _is_set_aside(name: str | None, batch: Sequence[Event]) -> bool:
    """Whether the run has found in its time that a message of the batch does not fit."""
    return any(event.kind == EventKind.MESSAGE_SET_ASIDE and event.name == name for event in batch)


_LOOKS: Final[Mapping[str, Callable[[Drift, Event, Sequence[Event]], None]]] = {
    EventKind.RUN_STARTED: Drift._look_at_start,
    EventKind.STEP_COMPLETED: Drift._look_at_outcome,
    EventKind.CHILD_COMPLETED: Drift._look_at_outcome,
    EventKind.QUESTION_ANSWERED: Drift._look_at_answer,
    EventKind.SIGNAL_RECEIVED: Drift._look_at_signal,
    EventKind.UPDATE_ACCEPTED: Drift._look_at_update,
    EventKind.RUN_COMPLETED: Drift._look_at_end,
}
