"""Serving one run until it ends, waits for a person, gets stuck, or is interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from durable.errors import RunError, RunExistsError, StoreUnavailableError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from durable.timeline.timeline import HIDDEN
from durable.workflow import WorkflowDefinition
from runtime.cli.argument import check_booleans, parse_input
from runtime.cli.exitcode import ExitCode
from runtime.cli.interrupt import Interrupts
from runtime.cli.output import count
from runtime.cli.watch import Standstill, Watch
from runtime.client.adoption import hopeless_step
from runtime.client.arrangement import arrange
from runtime.runtime import Runtime
from runtime.store.whole import read_whole_history

if TYPE_CHECKING:
    from runtime.cli.session import Session
    from runtime.cli.target import Code
    from runtime.client.handle import RunHandle
    from runtime.store.row import RunRow

log = logging.getLogger("durable.run")

RETRY_SECONDS: Final = 1.0
"""Before the store is asked again that was not available."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What ``durable run`` was asked for.

    Attributes:
        workflow: with the options of its start.
        given: the ``--input`` flags.
        may_ask: questions may be asked on the terminal, if there is one.
    """

    target: str
    code: Code
    workflow: WorkflowDefinition[..., Any]
    given: Sequence[str]
    queues: Sequence[str]
    max_concurrent_steps: int
    grace_seconds: float
    may_ask: bool


def decode_input(
    workflow: WorkflowDefinition[..., Any], given: Sequence[str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that the flags mean to this workflow.

    Raises:
        DecodeError, EncodeError: they do not fit its parameters; the message names the path.
    """
    schema = workflow.arguments.json_schema()
    positional, keywords = parse_input(given, schema)
    fields = arrange(workflow.name, positional, keywords, workflow.arguments.parameters, schema)
    check_booleans(fields, schema)
    form = positional if positional and not keywords else fields
    args, kwargs = workflow.arguments.decode(to_json(form, inf_nan_mode="constants").decode())
    return tuple(args), dict(kwargs)


async def serve_run(session: Session, request: RunRequest) -> int:
    """Serve it; returns the exit code."""
    args, kwargs = _arguments(request)
    codecs = session.load_codecs()
    store = session.open_store()
    runtime = Runtime(
        store,
        workflows=request.code.workflows,
        steps=request.code.steps,
        queues=request.queues,
        codecs=codecs,
        actor=session.actor,
        recover=False,
        max_concurrent_steps=request.max_concurrent_steps,
        grace_seconds=request.grace_seconds,
    )
    with Interrupts() as interrupts:
        try:
            async with runtime:
                return await _serve(session, request, runtime, interrupts, args, kwargs)
        finally:
            await store.close()


def _arguments(request: RunRequest) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The input; one that may be left out because the run exists is not demanded before that is known."""
    if not request.given and request.workflow.start_options.id is not None:
        return (), {}
    return decode_input(request.workflow, request.given)


async def _serve(
    session: Session,
    request: RunRequest,
    runtime: Runtime,
    interrupts: Interrupts,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> int:
    since = datetime.now(UTC)
    run = await _begin(request, runtime, args, kwargs)
    output = session.output
    if output.as_json:
        output.event(
            "started",
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            workflow=request.workflow.name,
            store=runtime.store.url,
        )
    else:
        output.line("run ", (run.workflow_id, "strong"))
    watch = Watch(session, runtime, run, since, may_ask=request.may_ask)
    tasks = {
        "ended": asyncio.ensure_future(_result(run)),
        "stands": asyncio.ensure_future(watch.until_standstill()),
        "asked": asyncio.ensure_future(interrupts.asked.wait()),
    }
    try:
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        stands = tasks["stands"].done()
        await _cancel(tasks["stands"])
        await watch.close()
        if tasks["ended"].done():
            return await _tell_outcome(session, request, runtime, run, tasks["ended"])
        if stands:
            return _tell_standstill(session, request, run, tasks["stands"].result())
        return _tell_interruption(session, request, runtime, run)
    finally:
        await _cancel(*tasks.values())


async def _result(run: RunHandle[Any]) -> Any:
    """The run's result, however long the store is away in between."""
    while True:
        try:
            return await run.result()
        except StoreUnavailableError as error:
            log.warning("the store is not available, trying again: %s", error.message)
            await asyncio.sleep(RETRY_SECONDS)


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _begin(
    request: RunRequest, runtime: Runtime, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> RunHandle[Any]:
    """Start the run, or go on with the one that has the id.

    Raises:
        RunExistsError: the id belongs to a run of another workflow, or with another input.
    """
    workflow = request.workflow
    workflow_id, policy = workflow.start_options.id, workflow.start_options.on_conflict
    row = await runtime.store.get_run(workflow_id) if workflow_id is not None and policy == "attach" else None
    if row is not None and not request.given:
        if row.workflow != workflow.name:
            raise RunExistsError(
                f"{workflow_id!r} is a run of workflow {row.workflow!r}, not {workflow.name!r}: choose another --id, or end "
                "it and begin anew with --on-conflict replace",
                workflow_id=workflow_id,
            )
        runtime.worker.serve(row.run_id)
    else:
        if workflow_id is not None and not request.given:
            args, kwargs = decode_input(workflow, ())
        row = await (await runtime.start(workflow.bind(*args, **kwargs))).row()
    if row.status is RunStatus.STUCK:
        await runtime.get(row.workflow_id, row.run_id).resume()
    return runtime.get(row.workflow_id, row.run_id)


# -- endings ----------------------------------------------------------------------------------------------


async def _tell_outcome(
    session: Session, request: RunRequest, runtime: Runtime, run: RunHandle[Any], ended: asyncio.Future[Any]
) -> int:
    output = session.output
    error = ended.exception()
    if error is None:
        value = HIDDEN if request.workflow.result.has_secrets else ended.result()
        if output.as_json:
            output.event("ended", workflow_id=run.workflow_id, status="completed", result=value)
        elif value is not None:
            output.result(value)
        return ExitCode.OK
    if not isinstance(error, RunError):
        raise error
    row = await runtime.get(run.workflow_id).row()
    if output.as_json:
        from runtime.cli.failure import describe

        output.event(
            "ended", workflow_id=run.workflow_id, status=row.status, rollback=row.rollback, error=describe(error)
        )
        return ExitCode.FAILED
    output.note(str(error))
    history = await runtime.store.read_history(row.run_id, after_seq=max(0, row.seq - 64))
    failed = next((event for event in reversed(history) if event.kind == EventKind.RUN_FAILED), None)
    if failed is not None and failed.payload is not None:
        from durable.timeline.fault import read_fault
        from durable.timeline.line import fault_lines
        from durable.timeline.text import plain_text

        blobs = await runtime.store.read_blobs(row.run_id)
        for line in list(fault_lines(read_fault(runtime.envelope.open(failed.payload, blobs))))[1:]:
            output.note(plain_text(*line))
    history = await read_whole_history(runtime.store, row)
    output.note(
        _ways_on(session, request, row, None if row.rollback is RollbackStatus.COMPLETED else hopeless_step(history))
    )
    return ExitCode.FAILED


def _ways_on(session: Session, request: RunRequest, row: RunRow, hopeless: str | None) -> str:
    """What can be done with a run that failed.

    Args:
        hopeless: the at-most-once step whose error a retry would get again.
    """
    show = session.command("show", row.workflow_id, opens_values=True)
    if row.rollback is RollbackStatus.FAILED:
        undo = session.command("rollback", row.workflow_id, request.target, opens_values=True)
        return f"see: {show}; its rollback failed; mend it and go on: {undo}"
    retry = session.command("retry", row.workflow_id)
    if hopeless is not None:
        return (
            f"see: {show}; step {hopeless!r} runs at most once, so a retry does not run it again and gets the same error: find "
            f"out what it did, then begin anew with another --id, or let the workflow handle the error and go on: {retry}"
        )
    return f"see: {show}; again: {retry}, then {resume_command(session, request, row.workflow_id)}"


def _tell_standstill(session: Session, request: RunRequest, run: RunHandle[Any], stands: Standstill) -> int:
    output = session.output
    code = ExitCode.STUCK if stands.status is RunStatus.STUCK else ExitCode.WAITING
    again = resume_command(session, request, run.workflow_id)
    if output.as_json:
        output.event(
            "standstill", workflow_id=run.workflow_id, status=stands.status, reason=stands.reason,
            questions=stands.questions, resume=again,
        )  # fmt: skip
        return code
    if code is ExitCode.STUCK:
        output.note(f"the run is stuck: {stands.reason}\nnothing is lost; mend it and go on: {again}")
        return code
    if stands.status is RunStatus.PAUSED:
        output.line(f"the run is paused; go on: {session.command('resume', run.workflow_id)}")
    from runtime.cli.listing import how_to_answer

    for question in stands.questions:
        output.line(f"waiting for {question.kind} {question.key!r}: {question.prompt}")
        for command in how_to_answer(question, session):
            output.line("  ", (command, "waiting"))
    output.line("then go on: ", (again, "waiting"))
    return code


def _tell_interruption(session: Session, request: RunRequest, runtime: Runtime, run: RunHandle[Any]) -> int:
    engine = runtime.worker.engine
    running = engine.runner.running if engine is not None else 0
    steps = f"; {count(running, 'step')} may finish, once more ends at once" if running else ""
    session.output.note(f"interrupted{steps}")
    again = resume_command(session, request, run.workflow_id)
    if session.as_json:
        session.output.event("interrupted", workflow_id=run.workflow_id, resume=again)
    else:
        session.output.line(f"nothing is lost; go on: {again}")
    return ExitCode.INTERRUPTED


def resume_command(session: Session, request: RunRequest, workflow_id: str) -> str:
    """The command that goes on with the run."""
    queues = request.queues if tuple(request.queues) != ("default",) else ()
    flags = [word for name in queues for word in ("--queue", name)]
    return session.command("run", request.target, *flags, "--id", workflow_id, opens_values=True)
