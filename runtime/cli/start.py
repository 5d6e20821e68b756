"""``durable start``: a run for whichever worker serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.options import By, Codecs, Input, Json, Store
from runtime.cli.run import Id, OnConflict

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.client.handle import RunHandle


def start(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A workflow's name that a worker has published, or a target as of run.",
            show_default=False,
        ),
    ],
    given: Input = None,
    workflow_id: Id = None,
    on_conflict: OnConflict = "attach",
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help="Begin so much later.", show_default=False)
    ] = None,
    run_queue: Annotated[
        str | None,
        typer.Option(
            "--queue",
            metavar="NAME",
            help="Which workers may take it; the workflow's own by default.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    store: Store = None,
    codecs: Codecs = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Start a run and print its id; a worker runs it. It is on disk when this returns."""
    from runtime.cli.moment import parse_duration
    from runtime.cli.session import Session

    session = Session(store, codecs, as_json, by)
    options = {
        "id": workflow_id,
        "on_conflict": on_conflict,
        "delay": parse_duration(delay, "--delay") if delay is not None else None,
        "queue": run_queue,
    }

    async def work(client: Client) -> None:
        run = await begin(client, target, given or [], options)
        if as_json:
            session.output.event("started", workflow_id=run.workflow_id, run_id=run.run_id, store=client.store.url)
        else:
            session.output.line(run.workflow_id)
        await session.note_if_unserved(client, run)
        if not wait:
            return
        value = await run.result()
        if as_json:
            session.output.event("ended", workflow_id=run.workflow_id, status="completed", result=value)
        else:
            session.output.result(value)

    session.run(work, creates=True)


async def begin(client: Client, target: str, given: list[str], options: dict[str, Any]) -> RunHandle[Any]:
    """Start what the target means: code if it is a file or has a colon, else a published name, else a module.

    Raises:
        ConfigurationError: it is nothing of these.
    """
    from durable.errors import ConfigurationError
    from runtime.cli.argument import parse_input
    from runtime.cli.serve import decode_input
    from runtime.cli.target import load_one

    is_code = ":" in target or "/" in target or target.endswith((".py", ".yaml", ".yml"))
    published = {} if is_code else await client.published(target)
    if published:
        args, kwargs = parse_input(given, published.get("input"))
        return await client.start(client.workflow(target, **options), *args, **kwargs)
    try:
        _, definition = load_one(target)
    except ConfigurationError as error:
        if is_code:
            raise
        raise ConfigurationError(
            f"no worker has published a workflow {target!r} in {client.store.url}, and as a target: {error.message}"
        ) from error
    positional, keywords = decode_input(definition, given)
    return await client.start(definition.options(**options).bind(*positional, **keywords))
