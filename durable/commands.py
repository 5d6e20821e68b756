"""Commands: what workflow code asks for, in the imperative.

A command gets its number when it is issued (rule K5). At the end of its batch it becomes one record of the history, and
after the commit an effect of the worker. One that is taken back within its batch is dropped and leaves no record.
Everything a command carries is encoded already: ``payload`` is an envelope, ``detail`` plain JSON text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_core import to_json

from durable.history import Event, EventKind

if TYPE_CHECKING:
    from durable.codec import ValueCodec
    from durable.step import StepDefinition
    from durable.workflow import WorkflowDefinition


class Command:
    """One request of workflow code.

    Attributes:
        number: its place in the order of issue, from 1; None for records that consume no number.
        name: of the step, child, message, timer's purpose or key.
        detail, payload: as in ``Event``.
        dropped: taken back before it was recorded.
    """

    __slots__ = ("detail", "dropped", "name", "number", "payload")

    kind: ClassVar[EventKind]

    def __init__(
        self, number: int | None, name: str | None = None, detail: str | None = None, payload: str | None = None
    ) -> None:
        self.number = number
        self.name = name
        self.detail = detail
        self.payload = payload
        self.dropped = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.name or ''}>"


class ScheduleStep(Command):
    """Run a step.

    Attributes:
        definition: the step with the options of this call.
        idempotency_key: rule K7.
        at_us: when it was asked for.
        compensates: command number of the operation that it undoes, for a compensation.
    """

    __slots__ = ("at_us", "compensates", "definition", "idempotency_key")
    kind = EventKind.STEP_SCHEDULED

    def __init__(
        self,
        number: int,
        definition: StepDefinition[..., Any],
        payload: str,
        detail: str | None,
        idempotency_key: str,
        at_us: int,
        compensates: int | None = None,
    ) -> None:
        self.number = number
        self.name = definition.name
        self.detail = detail
        self.payload = payload
        self.dropped = False
        self.definition = definition
        self.idempotency_key = idempotency_key
        self.at_us = at_us
        self.compensates = compensates


class CancelStep(Command):
    """Stop wanting a step; ``number`` is the step's."""

    __slots__ = ()
    kind = EventKind.STEP_CANCEL_REQUESTED


class StartTimer(Command):
    """Wake the run at ``deadline_us``."""

    __slots__ = ("deadline_us",)
    kind = EventKind.TIMER_STARTED

    def __init__(self, number: int, deadline_us: int, name: str | None = None) -> None:
        super().__init__(number, name, f'{{"deadline_us":{deadline_us}}}')
        self.deadline_us = deadline_us


class CancelTimer(Command):
    """Take back a timer; ``number`` is the timer's."""

    __slots__ = ()
    kind = EventKind.TIMER_CANCELLED


class StartChild(Command):
    """Start a child workflow.

    Attributes:
        definition: the workflow with the options of this start.
        workflow_id, run_id: of the child; ``run_id`` is made up when the command is recorded and read back on replay.
    """

    __slots__ = ("definition", "input_digest", "run_id", "workflow_id")
    kind = EventKind.CHILD_STARTED

    def __init__(
        self,
        number: int,
        definition: WorkflowDefinition[..., Any],
        payload: str,
        workflow_id: str,
        run_id: str,
        input_digest: str,
        detail: str | None,
    ) -> None:
        super().__init__(number, definition.name, detail, payload)
        self.definition = definition
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.input_digest = input_digest

    def adopt(self, record: Event) -> None:
        """Take the ids that were made up when the command was first issued."""
        detail = record.details
        self.workflow_id, self.run_id = detail["workflow_id"], detail["run_id"]


class CancelChild(Command):
    """Ask a child to cancel; ``number`` is the child's.

    Attributes:
        workflow_id, run_id: of the child.
        reason: in words.
    """

    __slots__ = ("reason", "run_id", "workflow_id")
    kind = EventKind.CHILD_CANCEL_REQUESTED

    def __init__(self, number: int, name: str, workflow_id: str, run_id: str, reason: str) -> None:
        super().__init__(number, name)
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.reason = reason


class SendMessage(Command):
    """Signal or cancel another run.

    Attributes:
        message: ``signal`` or ``cancel``.
        workflow_id: the target.
        run_id: the target's run, if it must be that one.
        signal: name of the signal.
    """

    __slots__ = ("message", "run_id", "signal", "workflow_id")
    kind = EventKind.MESSAGE_SENT

    def __init__(
        self,
        number: int,
        message: str,
        workflow_id: str,
        run_id: str | None,
        signal: str | None,
        payload: str | None,
        detail: str | None,
    ) -> None:
        super().__init__(number, signal or message, detail, payload)
        self.message = message
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.signal = signal


class AskQuestion(Command):
    """Ask people something; ``name`` is the question's key.

    Attributes:
        codec: of the answer.
        question: ``question`` or ``approval``.
        prompt: in words.
        schema: JSON schema text of the answer.
        deadline_us: when nobody needs to answer any more, or None.
        about: JSON text of what is shown beside it (``context``), or None.
    """

    __slots__ = ("about", "codec", "deadline_us", "prompt", "question", "schema")
    kind = EventKind.QUESTION_ASKED

    def __init__(
        self,
        number: int,
        key: str,
        question: str,
        prompt: str,
        codec: ValueCodec,
        deadline_us: int | None,
        about: str | None,
        detail: str | None,
    ) -> None:
        super().__init__(number, key, detail)
        self.question = question
        self.prompt = prompt
        self.codec = codec
        self.schema = to_json(codec.json_schema()).decode()
        self.deadline_us = deadline_us
        self.about = about


class WithdrawQuestion(Command):
    """Stop asking; ``number`` is the question's."""

    __slots__ = ()
    kind = EventKind.QUESTION_WITHDRAWN


class SetAsideMessage(Command):
    """A received message or answer does not fit its schema and harms nothing; ``detail`` says why."""

    __slots__ = ()
    kind = EventKind.MESSAGE_SET_ASIDE


class CompleteUpdate(Command):
    """An update's handler returned; ``payload`` is its result.

    Attributes:
        update_id: the sender's id.
    """

    __slots__ = ("update_id",)
    kind = EventKind.UPDATE_COMPLETED

    def __init__(self, number: int, name: str, update_id: str, payload: str, detail: str | None) -> None:
        super().__init__(number, name, detail, payload)
        self.update_id = update_id


class FailUpdate(CompleteUpdate):
    """An update's handler raised; ``payload`` is the record of the exception."""

    __slots__ = ()
    kind = EventKind.UPDATE_FAILED


class MarkPatch(Command):
    """Remember that this run takes the new side of a patch; consumes no number."""

    __slots__ = ()
    kind = EventKind.PATCH_MARKED


class SetAttributes(Command):
    """Set searchable attributes."""

    __slots__ = ("attributes",)
    kind = EventKind.ATTRIBUTES_SET

    def __init__(self, number: int, attributes: dict[str, Any], detail: str | None) -> None:
        super().__init__(number, None, detail)
        self.attributes = attributes


class PublishValue(Command):
    """Publish a value under the key ``name``."""

    __slots__ = ()
    kind = EventKind.VALUE_PUBLISHED


class WriteStream(Command):
    """Append an item to the stream ``name``.

    Attributes:
        position: of the item, from 0.
    """

    __slots__ = ("position",)
    kind = EventKind.STREAM_WRITTEN

    def __init__(self, number: int, name: str, position: int, payload: str) -> None:
        super().__init__(number, name, f'{{"position":{position}}}', payload)
        self.position = position


class RegisterCompensation(Command):
    """Register an undo step before what it undoes; ``payload`` holds its arguments."""

    __slots__ = ()
    kind = EventKind.COMPENSATION_REGISTERED


class StartRollback(Command):
    """Rollback begins."""

    __slots__ = ()
    kind = EventKind.ROLLBACK_STARTED


class CompleteRollback(Command):
    """Everything is undone."""

    __slots__ = ()
    kind = EventKind.ROLLBACK_COMPLETED


class FailRollback(Command):
    """A compensation failed for good; what is left stays registered."""

    __slots__ = ()
    kind = EventKind.ROLLBACK_FAILED


class CloseRun(Command):
    """The run ends; the last command of a run."""

    __slots__ = ()


class CompleteRun(CloseRun):
    """With the result in ``payload``."""

    __slots__ = ()
    kind = EventKind.RUN_COMPLETED


class FailRun(CloseRun):
    """With the record of the exception in ``payload``."""

    __slots__ = ()
    kind = EventKind.RUN_FAILED


class CancelRun(CloseRun):
    """Because that was asked for; ``detail`` has the reason."""

    __slots__ = ()
    kind = EventKind.RUN_CANCELLED


class ContinueRun(CloseRun):
    """Go on as a new run with the arguments in ``payload`` and what ``detail`` carries over.

    Attributes:
        run_id: of the successor.
        carry: fields for the successor's start.
    """

    __slots__ = ("carry", "input_digest", "run_id")
    kind = EventKind.RUN_CONTINUED

    def __init__(self, run_id: str, payload: str, carry: dict[str, Any], input_digest: str) -> None:
        super().__init__(None, None, f'{{"run_id":"{run_id}"}}', payload)
        self.run_id = run_id
        self.carry = carry
        self.input_digest = input_digest
