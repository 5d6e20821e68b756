"""What commands leave beside the history, in the harness: steps, questions, outcomes of updates, attributes, output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from durable.commands import (
    AskQuestion,
    CancelStep,
    CompleteUpdate,
    FailUpdate,
    PublishValue,
    ScheduleStep,
    SetAttributes,
    WithdrawQuestion,
    WriteStream,
)
from durable.testing.simulated import SimulatedRun

if TYPE_CHECKING:
    from durable.testing.fulfiller import Fulfiller


def _schedule_step(host: Fulfiller, run: SimulatedRun, command: ScheduleStep) -> None:
    host.steps.start(run, command)


def _cancel_step(host: Fulfiller, run: SimulatedRun, command: CancelStep) -> None:
    execution = run.steps.get(command.number or 0)
    if execution is not None:
        host.steps.cancel(execution)


def _ask(host: Fulfiller, run: SimulatedRun, command: AskQuestion) -> None:  # noqa: ARG001 - one shape for all
    run.questions[command.number or 0] = command


def _withdraw(host: Fulfiller, run: SimulatedRun, command: WithdrawQuestion) -> None:  # noqa: ARG001 - one shape for all
    run.questions.pop(command.number or 0, None)


def _end_update(host: Fulfiller, run: SimulatedRun, command: CompleteUpdate) -> None:  # noqa: ARG001 - one shape for all
    state = "failed" if isinstance(command, FailUpdate) else "completed"
    run.updates[command.update_id] = (state, command.payload)


def _set_attributes(host: Fulfiller, run: SimulatedRun, command: SetAttributes) -> None:  # noqa: ARG001 - one shape for all
    run.attributes.update(command.attributes)


def _publish(host: Fulfiller, run: SimulatedRun, command: PublishValue) -> None:  # noqa: ARG001 - one shape for all
    run.published[command.name or ""] = command.payload or "null"


def _write(host: Fulfiller, run: SimulatedRun, command: WriteStream) -> None:  # noqa: ARG001 - one shape for all
    run.streams.setdefault(command.name or "", []).append(command.payload or "null")


EFFECTS: Final[dict[type, Callable[[Fulfiller, SimulatedRun, Any], None]]] = {
    ScheduleStep: _schedule_step,
    CancelStep: _cancel_step,
    WithdrawQuestion: _withdraw,
    AskQuestion: _ask,
    CompleteUpdate: _end_update,
    FailUpdate: _end_update,
    SetAttributes: _set_attributes,
    PublishValue: _publish,
    WriteStream: _write,
}
"""By the type of the command."""
