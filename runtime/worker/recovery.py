"""Going on with the steps of a run that was just loaded: which run again, which wait, which are lost or in doubt (rule H4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from durable.codec import Envelope, rebuild_exception, record_exception
from durable.commands import ScheduleStep
from durable.errors import MissingCodeError, StepError, StepInDoubtError, StepLostError
from durable.history import EventKind, Fact
from durable.kernel.replayer import Replayer
from durable.retry import RetryPolicy
from runtime.store.row import AttemptOutcome, AttemptRow
from runtime.worker.execution import Execution
from runtime.worker.held import HeldRun

Heartbeat = tuple[int, str | None]
"""When it came, UTC microseconds, and the envelope of its details."""

MAX_LOSSES: Final = 3
"""After so many workers were lost with a step it fails with ``StepLostError``."""


@dataclass(slots=True)
class Recovery:
    """What to do with the open steps of a run.

    Attributes:
        facts: outcomes that are clear already.
        losses: records that this worker was not the first one to try.
        resume: steps to go on with, and when their next attempt is due (None: now).
        watch: steps that somebody else completes; only their limits are watched here.
    """

    facts: list[Fact] = field(default_factory=list)
    losses: list[AttemptRow] = field(default_factory=list)
    resume: list[tuple[Execution, int | None]] = field(default_factory=list)
    watch: list[Execution] = field(default_factory=list)


def plan_recovery(
    held: HeldRun,
    replayer: Replayer,
    attempts: Sequence[AttemptRow],
    routed: frozenset[int],
    answered: frozenset[int],
    beats: Mapping[int, Heartbeat | None],
    envelope: Envelope,
    defaults: tuple[RetryPolicy | None, ...],
    worker_id: str,
    now_us: int,
) -> Recovery:
    """Decide about every open step of a loaded run that is not in flight here.

    Args:
        attempts: the kept attempts of the run.
        routed: command numbers of steps that are tasks of other workers.
        answered: command numbers whose outcome waits in the inbox.
        beats: newest heartbeats in the store by command number.
        defaults: retry policies for steps that have none, in order.
    """
    recovery = Recovery()
    for number, waiter in replayer.open.items():
        command = waiter.command
        if not isinstance(command, ScheduleStep) or number in routed or number in answered or number in held.executions:
            continue
        own = [row for row in attempts if row.command == number]
        policy = command.definition.options_.policy(*defaults)
        execution = Execution(held, command, policy, own[0].started_at_us if own else now_us)
        _continue_from(execution, own, beats.get(number))
        _plan_step(recovery, execution, own, waiter.cancel_requested, envelope, worker_id, now_us)
    return recovery


def _plan_step(
    recovery: Recovery,
    execution: Execution,
    rows: list[AttemptRow],
    cancelled: bool,
    envelope: Envelope,
    worker_id: str,
    now_us: int,
) -> None:
    command = execution.command
    number = command.number
    assert number is not None
    last = rows[-1] if rows else None
    name = command.name or ""
    if last is not None and last.outcome is AttemptOutcome.HANDED_OVER:
        execution.cancel_requested = cancelled
        recovery.watch.append(execution)
    elif command.definition.options_.delivery == "at_most_once" and last is not None:
        doubt = StepInDoubtError(
            f"step {name!r} was started by worker {last.worker} and its outcome is unknown; it is not run again",
            step=name,
        )
        recovery.facts.append(Fact(EventKind.STEP_FAILED, number, name, None, envelope.seal(record_exception(doubt))))
    elif cancelled:
        recovery.facts.append(Fact(EventKind.STEP_CANCELLED, number, name))
    elif last is not None and last.next_at_us is not None and last.next_at_us > now_us:
        recovery.resume.append((execution, last.next_at_us))
    else:
        # The first loss is presumed; from then on the start of an attempt is on record, and only those that had begun count.
        if execution.held.row.lost and (not execution.losses or rows[-1].outcome is AttemptOutcome.STARTED):
            _count_loss(recovery, execution, worker_id, now_us)
        if execution.losses >= MAX_LOSSES:
            lost = StepLostError(f"{execution.losses} workers were lost while step {name!r} ran", step=name)
            recovery.facts.append(
                Fact(EventKind.STEP_FAILED, number, name, None, envelope.seal(record_exception(lost)))
            )
        else:
            recovery.resume.append((execution, None))


def newest_heartbeat(rows: Sequence[AttemptRow], beat: Heartbeat | None) -> str | None:
    """The details that a step reported last, before it failed or before its worker was gone."""
    last = next((row for row in reversed(rows) if row.heartbeat is not None), None)
    if last is None or (beat is not None and beat[0] > (last.ended_at_us or last.started_at_us)):
        return None if beat is None else beat[1]
    return last.heartbeat


def _continue_from(execution: Execution, rows: list[AttemptRow], beat: Heartbeat | None) -> None:
    execution.heartbeat = newest_heartbeat(rows, beat)
    execution.heard_at_us = 0 if beat is None else beat[0]
    if not rows:
        return
    ended = [row for row in rows if row.outcome in (AttemptOutcome.FAILED, AttemptOutcome.TIMED_OUT)]
    execution.attempt = max((row.attempt for row in ended), default=0) + 1
    execution.losses = sum(row.outcome is AttemptOutcome.LOST for row in rows)
    execution.started_at_us = rows[-1].started_at_us
    if ended and ended[-1].error is not None:
        execution.last_error = _rebuilt(ended[-1].error)


def _rebuilt(record: str) -> Exception:
    try:
        return rebuild_exception(record)
    except MissingCodeError as error:  # it would only be the cause of another one
        return StepError(error.message)


def _count_loss(recovery: Recovery, execution: Execution, worker_id: str, now_us: int) -> None:
    execution.losses += 1
    assert execution.command.number is not None
    recovery.losses.append(
        AttemptRow(
            execution.held.row.run_id, execution.command.number, execution.attempt, AttemptOutcome.LOST,
            execution.started_at_us, now_us, None, None, execution.heartbeat, worker_id,
        )
    )  # fmt: skip
