"""``durable rollback``: going on with a rollback that failed, by whichever worker serves the run, or here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.exitcode import ExitCode
from runtime.cli.options import By, Codecs, Grace, Json, LogFormat, LogLevel, Queue, RunId, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.cli.session import Session
    from runtime.cli.target import Code
    from runtime.client.client import Client
    from runtime.client.handle import RunHandle
    from runtime.runtime import Runtime
    from runtime.store.row import RunRow


def rollback(
    run_id: RunId,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="Do it here, with this code: file.py or module. Without it the next worker that serves the run does it.",
            show_default=False,
        ),
    ] = None,
    queue: Queue = None,
    grace: Grace = "10s",
    log_level: LogLevel = "info",
    log_format: LogFormat = "auto",
    store: Store = None,
    codecs: Codecs = None,
    by: By = None,
    as_json: Json = False,
) -> int:
    """Go on with a rollback that failed.

    It begins with the compensation that failed.
    """
    from runtime.cli.session import Session

    session = Session(store, codecs, as_json, by)
    if target is None:
        session.with_run(run_id, lambda _, run: run.rollback())
        _tell_request(session, run_id)
        return ExitCode.OK
    import asyncio

    from runtime.cli.logging import begin_logging
    from runtime.cli.moment import parse_duration
    from runtime.cli.target import load_all
    from runtime.runtime import Runtime  # noqa: F401 - before any code of the user's can take a name of ours

    begin_logging(log_level, log_format)
    grace_seconds = parse_duration(grace, "--grace").total_seconds()
    code = load_all([target])
    row = session.with_run(run_id, lambda client, run: _request(client, run, target, code))
    return asyncio.run(_serve(session, row, target, code, tuple(queue or ("default",)), grace_seconds))


def _tell_request(session: Session, run_id: str) -> None:
    if session.as_json:
        session.output.data({"workflow_id": run_id, "done": True})
        return
    session.output.line(f"the rollback of {run_id} goes on with the next worker that serves it")
    here = session.command("rollback", run_id, "TARGET", opens_values=True)
    session.output.line("or here, with the code of the run: ", (here, "waiting"))


async def _request(client: Client, run: RunHandle[Any], target: str, code: Code) -> RunRow:
    """Ask for the rollback, unless it is under way already.

    Raises:
        ConfigurationError: the target has another workflow.
        RunNotRetriableError: there is nothing to go on with.
    """
    from durable.errors import ConfigurationError
    from durable.handle import RollbackStatus

    row = await run.row()
    if all(workflow.name != row.workflow for workflow in code.workflows):
        raise ConfigurationError(f"{row.workflow_id!r} is a run of workflow {row.workflow!r}, which {target} has not")
    pinned = client.get(row.workflow_id, row.run_id)
    if not (row.status.is_closed and row.rollback is RollbackStatus.RUNNING):
        await pinned.rollback()
    return row


async def _serve(
    session: Session, row: RunRow, target: str, code: Code, queues: Sequence[str], grace_seconds: float
) -> int:
    import asyncio
    from datetime import UTC, datetime

    from runtime.cli.interrupt import Interrupts
    from runtime.cli.watch import Watch
    from runtime.runtime import Runtime

    store = session.open_store()
    runtime = Runtime(
        store,
        workflows=code.workflows,
        steps=code.steps,
        queues=queues,
        codecs=session.load_codecs(),
        actor=session.actor,
        recover=False,
        grace_seconds=grace_seconds,
    )
    since = datetime.now(UTC)
    with Interrupts() as interrupts:
        try:
            async with runtime:
                run = runtime.get(row.workflow_id, row.run_id)
                watch = Watch(session, runtime, run, since, may_ask=False, follows=False)
                watching = asyncio.ensure_future(watch.until_standstill())
                ended = asyncio.ensure_future(_until_over(runtime, row.run_id))
                asked = asyncio.ensure_future(interrupts.asked.wait())
                await asyncio.wait((watching, ended, asked), return_when=asyncio.FIRST_COMPLETED)
                over = ended.result() if ended.done() else None
                if watching.done():
                    watching.result()
                for task in (watching, ended, asked):
                    task.cancel()
                await asyncio.gather(watching, ended, asked, return_exceptions=True)
                await watch.close()
        finally:
            await store.close()
    return _tell_outcome(session, row, target, over)


async def _until_over(runtime: Runtime, run_id: str) -> RunRow:
    """Wait until the rollback has succeeded, or failed again."""
    from durable.errors import RunNotFoundError
    from durable.handle import RollbackStatus
    from durable.history import EventKind
    from runtime.client.waiting import moved

    async def look() -> RunRow | None:
        inbox = await runtime.store.read_inbox(run_id)
        row = await runtime.store.get_run_by_id(run_id)  # after the inbox: a turn may have taken the request in between
        if row is None:
            raise RunNotFoundError(f"run {run_id} was purged", run_id=run_id)
        is_asked = any(item.fact.kind == EventKind.ROLLBACK_REQUESTED for item in inbox)
        is_under_way = row.rollback is RollbackStatus.RUNNING or (row.rollback is RollbackStatus.FAILED and is_asked)
        return None if is_under_way else row

    return await runtime.watch.until(look, lambda change: moved(change, run_id))


def _tell_outcome(session: Session, row: RunRow, target: str, over: RunRow | None) -> int:
    from durable.handle import RollbackStatus
    from runtime.store.reason import halt_of

    output = session.output
    again = session.command("rollback", row.workflow_id, target, opens_values=True)
    if over is None:
        code, event = ExitCode.INTERRUPTED, "interrupted"
        output.note(f"interrupted; nothing is lost; go on: {again}")
    elif over.rollback is RollbackStatus.COMPLETED:
        code, event = ExitCode.OK, "ended"
        output.note(f"{row.workflow_id} is rolled back")
    elif (halt := halt_of(over.reason)) is not None:
        code, event = ExitCode.STUCK, "standstill"
        output.note(
            f"the rollback of {row.workflow_id} cannot go on: {halt}\nnothing is lost; mend it and go on: {again}"
        )
    else:
        code, event = ExitCode.FAILED, "ended"
        show = session.command("show", row.workflow_id, opens_values=True)
        output.note(f"the rollback of {row.workflow_id} failed again; see: {show}; mend it and go on: {again}")
    if output.as_json:
        done = over if over is not None else row
        more = {} if code is ExitCode.OK else {"resume": again}
        if code is ExitCode.STUCK:
            more["reason"] = done.reason or ""
        output.event(event, workflow_id=row.workflow_id, status=done.status, rollback=done.rollback, **more)
    return code
