"""``durable run``: one run and what it starts, in this process, from its beginning or from where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.options import (
    By,
    Codecs,
    Grace,
    Input,
    Json,
    LogFormat,
    LogLevel,
    MaxConcurrentSteps,
    Queue,
    Store,
)

if TYPE_CHECKING:
    from durable.workflow import WorkflowDefinition
    from runtime.cli.session import Session

Id = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="ID",
        help="Workflow id. A run that has it is gone on with, or its outcome shown, also without --input.",
        show_default=False,
    ),
]
OnConflict = Annotated[
    str,
    typer.Option(
        "--on-conflict",
        metavar="POLICY",
        help="If a run has the id: attach to it, fail, or replace it (terminates it).",
    ),
]


def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="file.py, file.py:workflow, module or module:workflow.", show_default=False
        ),
    ],
    given: Input = None,
    workflow_id: Id = None,
    on_conflict: OnConflict = "attach",
    no_ask: Annotated[bool, typer.Option("--no-ask", help="Never ask on the terminal.")] = False,
    queue: Queue = None,
    max_concurrent_steps: MaxConcurrentSteps = 1000,
    grace: Grace = "10s",
    log_level: LogLevel = "info",
    log_format: LogFormat = "auto",
    store: Store = None,
    codecs: Codecs = None,
    by: By = None,
    as_json: Json = False,
) -> int:
    """Run a workflow here and show what happens.

    The id is printed first. Only this run and what it starts are served. Ctrl-C or a crash leaves it resumable:
    the same command with --id goes on. A question to a person is asked on the terminal; without one the command
    prints how to answer and exits with code 4.
    """
    import asyncio

    from runtime.cli.logging import begin_logging
    from runtime.cli.moment import parse_duration
    from runtime.cli.serve import RunRequest, serve_run
    from runtime.cli.session import Session
    from runtime.cli.target import load_one
    from runtime.runtime import Runtime  # noqa: F401 - before any code of the user's can take a name of ours
    from runtime.worker.interpreter import tune_interpreter

    begin_logging(log_level, log_format)
    session = Session(store, codecs, as_json, by)
    going_on = workflow_id if on_conflict == "attach" else None
    code, definition = load_one(target, lambda: _workflow_of(session, going_on))
    request = RunRequest(
        target=target,
        code=code,
        workflow=start_options(definition, workflow_id, on_conflict),
        given=given or [],
        queues=tuple(queue or ("default",)),
        max_concurrent_steps=max_concurrent_steps,
        grace_seconds=parse_duration(grace, "--grace").total_seconds(),
        may_ask=not no_ask and not as_json,
    )
    tune_interpreter()
    return asyncio.run(serve_run(session, request))


def _workflow_of(session: Session, workflow_id: str | None) -> str | None:
    """The name of the workflow that the run with the id is of; None if there is no such run."""
    if workflow_id is None:
        return None
    row = session.run(lambda client: client.store.get_run(workflow_id))
    return row.workflow if row is not None else None


def start_options(
    definition: WorkflowDefinition[..., Any], workflow_id: str | None, on_conflict: str, **more: Any
) -> WorkflowDefinition[..., Any]:
    """The workflow with the options of its start.

    Raises:
        DefinitionError: an option is not allowed.
    """
    return definition.options(id=workflow_id, on_conflict=on_conflict, **more)  # type: ignore[arg-type]
