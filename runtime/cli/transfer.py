"""``durable export`` and ``durable import``: one run as one file, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.options import Codecs, Json, RunId, Store

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.client.client import Client
    from runtime.store.row import RunRow


def export_run(
    run_id: RunId,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write there; it must not exist. Default: standard output.",
            show_default=False,
        ),
    ] = None,
    tree: Annotated[bool, typer.Option("--tree", help="With its children, and theirs.")] = False,
    history_only: Annotated[
        bool, typer.Option("--history-only", help="Without the attempts of its steps and its log lines.")
    ] = False,
    decrypt: Annotated[
        bool,
        typer.Option(
            "--decrypt", help="With values in plain text, secrets too, instead of as they are stored; needs --codecs."
        ),
    ] = False,
    store: Store = None,
    codecs: Codecs = None,
    as_json: Json = False,
) -> None:
    """Write a run to one JSON file that replays elsewhere.

    The file holds its history and all that belongs to it, is readable and is checked by its hashes. Use it with durable replay --file,
    durable import.
    """
    from pathlib import Path

    from durable.errors import ConfigurationError
    from runtime.cli.session import Session
    from runtime.cli.stdout import results
    from runtime.replay.transfer import export_run as export

    target = None if output is None else Path(output)
    if target is not None and target.exists():
        raise ConfigurationError(f"{target} exists already; nothing was written")
    session = Session(store, codecs, as_json)

    async def work(client: Client, run: Any) -> str:
        return await export(client, await run.row(), tree=tree, history_only=history_only, decrypt=decrypt)

    text = session.with_run(run_id, work, read_only=True)
    if target is None:
        print(text, end="", file=results())
        return
    _write(target, text)
    if as_json:
        session.output.data({"file": str(target), "bytes": len(text.encode())})
    else:
        session.output.line(f"wrote {target}; replay it with: durable replay --file {target} TARGET")


def _write(target: Path, text: str) -> None:
    from durable.errors import ConfigurationError

    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror}") from error


def import_run(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What export wrote.", show_default=False)],
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Write an exported run into a store, as a copy that rests.

    A run that was open becomes a paused copy in the queue "imported", which no worker serves unless it is told to. A file that was
    altered is refused, and so is one whose ids are taken.
    """
    from runtime.cli.session import Session
    from runtime.replay.file import load_file
    from runtime.replay.transfer import import_runs

    session = Session(store, None, as_json)
    runs = load_file(file)

    async def work(client: Client) -> list[RunRow]:
        return await import_runs(client, runs, file)

    rows = session.run(work, creates=True) or []
    if as_json:
        session.output.data(
            {
                "store": session.open_store().url,
                "runs": [{"workflow_id": row.workflow_id, "run_id": row.run_id, "status": row.status} for row in rows],
            }
        )
        return
    for row in rows:
        session.output.line(f"imported {row.workflow_id} ({row.workflow}) as ", (row.status.value, row.status.value))
    if rows:
        session.output.line("next: ", (session.command("show", rows[0].workflow_id), "waiting"))
