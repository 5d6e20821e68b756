"""What is wrong with a trial, held against the one that was not disturbed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from durable.handle import RollbackStatus
from durable.history import EventKind
from durable.testing.crash import CrashPoint
from durable.testing.explorer.report import Finding, FindingKind
from durable.testing.explorer.schedule import FAULT_WORDS, Schedule
from durable.testing.explorer.trial import Trial


def judge(trial: Trial, reference: Trial, *, order_matters: bool) -> list[Finding]:
    """The findings of a trial.

    Args:
        trial: to be judged.
        reference: the same schedule without a crash, without another order.
        order_matters: the outcome may depend on the order, and on a cancellation.
    """
    found = list(_wrong(trial, reference, order_matters=order_matters))
    timeline = trial.run.timeline() if found else ""
    line = "" if trial.place is None else str(trial.place)
    return [Finding(kind, words(trial), text, line, str(trial.schedule), timeline) for kind, text in found]


def _wrong(trial: Trial, reference: Trial, *, order_matters: bool) -> Iterator[tuple[FindingKind, str]]:
    if trial.problem is not None:
        kind, text = trial.problem
        yield FindingKind(kind), text
        return
    for complaint in trial.complaints:
        yield FindingKind.INVARIANT, complaint
    if trial.rollback is RollbackStatus.FAILED:
        yield FindingKind.ROLLBACK, f"its rollback failed: {_why_rollback_failed(trial)}"
        return
    schedule = trial.schedule
    if trial.interference.is_cancelled and trial.outcome.startswith(EventKind.RUN_COMPLETED) and not order_matters:
        yield FindingKind.CANCELLATION, f"it was cancelled and completed all the same: {trial.outcome}"
    if trial is reference or len(trial.in_doubt) > len(reference.in_doubt):
        return
    if (schedule.crash is not None or (schedule.order is not None and not order_matters)) and (
        trial.outcome != reference.outcome
    ):
        yield FindingKind.OUTCOME, f"{reference.outcome} became {trial.outcome}"
    elif schedule.crash is not None:
        difference = _difference(reference.history, trial.history)
        if difference:
            yield FindingKind.HISTORY, difference


def _why_rollback_failed(trial: Trial) -> str:
    failed = next((event for event in trial.history if event["kind"] == EventKind.ROLLBACK_FAILED), {})
    value = failed.get("value")
    return f"{value['type']}: {value['message']}" if isinstance(value, dict) else "a compensation failed"


def _difference(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str:
    """What two runs did differently; '' if it is only the order in which concurrent things happened."""
    if before == after:
        return ""
    one, other = (Counter(map(_unnumbered, history)) for history in (before, after))
    lost, gained = (one - other).elements(), (other - one).elements()
    return "\n".join([*(f"no more: {event}" for event in lost), *(f"new:     {event}" for event in gained)])


def _unnumbered(event: dict[str, Any]) -> str:
    return to_json({key: value for key, value in event.items() if key != "command"}).decode()


def words(trial: Trial) -> str:
    """What was disturbed, in words."""
    schedule, parts, seen = trial.schedule, [], trial.interference
    if schedule == Schedule():
        return "undisturbed"
    if schedule.fault is not None:
        key = (schedule.fault.run, schedule.fault.command)
        step, question = seen.executions.get(key), seen.questions.get(key)
        name = step.name if step is not None else question.name if question is not None else schedule.fault.command
        parts.append(FAULT_WORDS[schedule.fault.kind].format(repr(name)))
    if schedule.cancellation is not None:
        how = "" if schedule.cancellation.is_alone else " beside what is ready"
        parts.append(f"cancelled after turn {schedule.cancellation.turn}{how}")
    if schedule.order is not None:
        parts.append("another order of what happens")
    if schedule.crash is not None:
        point: CrashPoint | None = None
        if len(seen.points) >= schedule.crash:
            point = seen.points[schedule.crash - 1].point
        parts.append(f"crash {point or 'nowhere'}")
    return ", ".join(parts)
