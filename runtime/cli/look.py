"""Looking: ``list``, ``show``, ``history``, ``logs``, ``inbox``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.options import (
    Actor,
    Attribute,
    Codecs,
    Json,
    Prefix,
    Rollback,
    RunId,
    StartedAfter,
    StartedBefore,
    Status,
    Store,
    Workflow,
)

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.client.description import Question

Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="At most so many.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show values that are stored encrypted; needs --codecs.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")]


def list_runs(
    status: Status = None,
    workflow: Workflow = None,
    prefix: Prefix = None,
    actor: Actor = None,
    started_after: StartedAfter = None,
    started_before: StartedBefore = None,
    attribute: Attribute = None,
    rollback: Rollback = None,
    limit: Limit = 50,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="CURSOR", help="Go on behind an earlier list, which ended with this.", show_default=False
        ),
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    from durable.errors import CallerError, ConfigurationError
    from runtime.cli.filter import Flags
    from runtime.cli.listing import Page, show_runs
    from runtime.cli.session import Session
    from runtime.client.client import run_filter
    from runtime.client.description import summarize

    flags = Flags(status, workflow, prefix, actor, started_after, started_before, attribute, rollback)
    where = run_filter(**flags.conditions())
    session = Session(store, None, as_json)

    async def work(client: Client) -> Page:
        try:
            rows, following = await client.store.list_runs(where, limit, after)
        except CallerError as error:
            raise ConfigurationError(f"--after: {error.message}") from error
        runs = [await summarize(client.store, row) for row in rows]
        count = len(runs) if following is None and after is None else await client.store.count_runs(where)
        return Page(runs, count, await client.store.workers(), following, after is None)

    show_runs(session, session.run(work, only_looks=True) or Page(), is_filtered=flags.is_given)


def show(
    run_id: RunId,
    values: Annotated[bool, typer.Option("--values", "-v", help="Show inputs and results in full.")] = False,
    reveal: Reveal = False,
    store: Store = None,
    codecs: Codecs = None,
    as_json: Json = False,
) -> None:
    """Show a run and what happened to it, as a timeline."""
    from runtime.cli.session import Session
    from runtime.cli.timeline import read_report, show_report

    session = Session(store, codecs, as_json)
    report = session.with_run(run_id, lambda client, run: read_report(client, run, reveal=reveal), only_looks=True)
    show_report(session, report, in_full=values)


def history(
    run_id: RunId,
    after: Annotated[int, typer.Option("--after", metavar="SEQ", min=0, help="Only events after this one.")] = 0,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check the hash chain of the whole history first.")] = False,
    reveal: Reveal = False,
    store: Store = None,
    codecs: Codecs = None,
    as_json: Json = False,
) -> None:
    """Show the events of a run as they are recorded.

    With --json there is one object a line.
    """
    from runtime.cli.listing import show_history
    from runtime.cli.session import Session

    session = Session(store, codecs, as_json)

    async def work(client: Client, run: Any) -> None:
        await show_history(session, client, run, after=after, limit=limit, verify=verify, reveal=reveal)

    session.with_run(run_id, work, only_looks=True)


def logs(
    run_id: RunId,
    limit: Limit = 1000,
    follow: Follow = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Show what the steps and the code of a run logged.

    The newest 1,000 lines of a run are kept.
    """
    from runtime.cli.listing import show_logs
    from runtime.cli.session import Session

    session = Session(store, None, as_json)
    session.with_run(
        run_id, lambda client, run: show_logs(session, client, run, limit=limit, follow=follow), only_looks=True
    )


def inbox(store: Store = None, as_json: Json = False) -> None:
    """List what people are asked now, and how to answer."""
    from runtime.cli.listing import show_questions
    from runtime.cli.session import Session
    from runtime.client.encryption import is_encrypted
    from runtime.client.people import unanswered

    session = Session(store, None, as_json)

    async def work(client: Client) -> tuple[list[Question], set[str]]:
        questions = await unanswered(client, await client.questions())
        return questions, {one.run_id for one in questions if await is_encrypted(client, one.run_id)}

    show_questions(session, *(session.run(work, only_looks=True) or (None,)))
