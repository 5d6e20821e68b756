"""Talking to runs: ``signal``, ``query``, ``update``, and the answers of people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.options import By, Codecs, Json, RunId, Store

if TYPE_CHECKING:
    from runtime.cli.session import Session
    from runtime.client.client import Client
    from runtime.client.handle import RunHandle

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the message.", show_default=False)]
Value = Annotated[
    str | None,
    typer.Argument(metavar="VALUE", help="Its value: JSON, plain text, or @FILE with JSON.", show_default=False),
]
Key = Annotated[
    str | None,
    typer.Option("--key", metavar="KEY", help="Which question, if the run asks several.", show_default=False),
]
Comment = Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why; recorded with the decision.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to wait for the answer.")]


def signal(
    run_id: RunId,
    name: Name,
    value: Value = None,
    message_id: Annotated[
        str | None,
        typer.Option("--message-id", metavar="ID", help="Your own id: sent twice, delivered once.", show_default=False),
    ] = None,
    store: Store = None,
    codecs: Codecs = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Send a signal to a run.

    It is on disk when this returns.
    """
    from runtime.cli.session import Session

    session = Session(store, codecs, as_json, by)

    async def work(client: Any, run: Any) -> None:
        schema = await message_schema(client, run, name)
        await run.signal(name, _value(value, f"the value of signal {name!r}", schema), message_id=message_id)
        _done(session, run_id, f"signal {name} sent to {run_id}")
        await _note_if_unpublished(session, client, run, name)
        await session.note_if_unserved(client, run)

    session.with_run(run_id, work)


def query(
    run_id: RunId,
    name: Name,
    value: Value = None,
    timeout: Timeout = "10s",
    store: Store = None,
    codecs: Codecs = None,
    as_json: Json = False,
) -> None:
    """Ask a run something and print the answer.

    A worker that has the workflow must be running.
    """
    from runtime.cli.moment import parse_duration
    from runtime.cli.session import Session

    session = Session(store, codecs, as_json)
    limit = parse_duration(timeout, "--timeout")

    async def work(client: Any, run: Any) -> Any:
        schema = await message_schema(client, run, name)
        given = _value(value, f"the value of query {name!r}", schema)
        await client.check_message(run.workflow_id, "query", name, given)  # before anybody is told to wait
        await _warn_if_unserved(session, client, run, timeout)
        return await run.query(name, given, timeout=limit)

    session.output.data(session.with_run(run_id, work))


def update(
    run_id: RunId,
    name: Name,
    value: Value = None,
    update_id: Annotated[
        str | None,
        typer.Option("--update-id", metavar="ID", help="Your own id: sent twice, done once.", show_default=False),
    ] = None,
    timeout: Timeout = "30s",
    store: Store = None,
    codecs: Codecs = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Send an update to a run and print its result."""
    from runtime.cli.moment import parse_duration
    from runtime.cli.session import Session

    session = Session(store, codecs, as_json, by)
    limit = parse_duration(timeout, "--timeout")

    async def work(client: Any, run: Any) -> Any:
        schema = await message_schema(client, run, name)
        given = _value(value, f"the value of update {name!r}", schema)
        await client.check_message(run.workflow_id, "update", name, given)  # before anybody is told to wait
        await _warn_if_unserved(session, client, run, timeout)
        return await run.update(name, given, update_id=update_id, timeout=limit)

    session.output.data(session.with_run(run_id, work))


def answer(
    run_id: RunId,
    value: Annotated[
        str,
        typer.Argument(metavar="VALUE", help="The answer: JSON, plain text, or @FILE with JSON.", show_default=False),
    ],
    key: Key = None,
    store: Store = None,
    codecs: Codecs = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Answer a question that a run asks."""
    from runtime.cli.session import Session

    session = Session(store, codecs, as_json, by)

    async def work(client: Any, run: Any) -> None:
        asked = [item for item in await run.questions() if key in (None, item.key) and item.kind == "question"]
        schema = asked[0].answer_schema if len(asked) == 1 else None
        await run.answer(_value(value, "the answer", schema), key=key)
        _done(session, run_id, f"answered {run_id}")
        await session.note_if_unserved(client, run)

    session.with_run(run_id, work)


def approve(
    run_id: RunId,
    key: Key = None,
    comment: Comment = "",
    store: Store = None,
    codecs: Codecs = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Say yes to what a run asks to be approved."""
    from runtime.cli.session import Session

    session = Session(store, codecs, as_json, by)

    async def work(client: Any, run: Any) -> None:
        await run.approve(comment=comment, key=key)
        _done(session, run_id, f"approved {run_id}")
        await session.note_if_unserved(client, run)

    session.with_run(run_id, work)


def reject(
    run_id: RunId,
    key: Key = None,
    comment: Comment = "",
    store: Store = None,
    codecs: Codecs = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Say no to what a run asks to be approved."""
    from runtime.cli.session import Session

    session = Session(store, codecs, as_json, by)

    async def work(client: Any, run: Any) -> None:
        await run.reject(comment=comment, key=key)
        _done(session, run_id, f"rejected {run_id}")
        await session.note_if_unserved(client, run)

    session.with_run(run_id, work)


async def message_schema(client: Any, run: Any, name: str) -> dict[str, Any] | None:
    """The JSON schema of a message's value, if the workflow published it."""
    published = await client.published((await run.row()).workflow)
    message = published.get("messages", {}).get(name)
    return None if message is None else message["schema"]


async def _note_if_unpublished(session: Session, client: Client, run: RunHandle[Any], name: str) -> None:
    """A name that is not among those that the workflow published may be a slip of the pen."""
    published = await client.published((await run.row()).workflow)
    messages = published.get("messages", {})
    if messages and name not in messages:
        known = ", ".join(sorted(other for other, entry in messages.items() if entry.get("kind") == "signal")) or "none"
        session.output.note(
            f"workflow {published['name']!r} publishes no signal {name!r} (published: {known}); "
            "it is kept until the workflow waits for it"
        )


async def _warn_if_unserved(session: Session, client: Client, run: RunHandle[Any], timeout: str) -> None:
    """Say why nothing happens, before it is waited for."""
    from runtime.client.presence import is_served

    row = await run.row()
    if not row.status.is_closed and not await is_served(client, row.workflow):
        session.output.note(f"no worker that has workflow {row.workflow!r} is running; waiting {timeout} for one")


def _value(text: str | None, what: str, schema: dict[str, Any] | None) -> Any:
    from runtime.cli.argument import parse_value

    return None if text is None else parse_value(text, what, schema, may_name_file=True)


def _done(session: Any, run_id: str, text: str) -> None:
    if session.as_json:
        session.output.data({"workflow_id": run_id, "done": True})
    else:
        session.output.line(text)
