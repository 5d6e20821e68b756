"""``durable graph``: the operations of a workflow, or of a run, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.options import Json, Store

if TYPE_CHECKING:
    from durable.graph import Picture
    from runtime.cli.session import Session
    from runtime.client.client import Client


def graph(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A workflow's code, as file.py, file.py:workflow, module or module:workflow; or a run, by workflow id or run id.",
            show_default=False,
        ),
    ],
    format_: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="mermaid or svg.")] = "mermaid",
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="Take the run from an exported file.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write there. Default: standard output.", show_default=False
        ),
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Draw what a workflow may do, or what a run has done.

    A workflow is drawn from its code, which is not run; a run from its history, with what became of each operation.
    """
    from pathlib import Path

    from durable.errors import ConfigurationError
    from durable.graph import to_mermaid, to_svg
    from runtime.cli.session import Session

    writers = {"mermaid": to_mermaid, "svg": to_svg}
    if format_ not in writers:
        raise ConfigurationError(f"expected --format to be mermaid or svg, got {format_!r}")
    session = Session(store, None, as_json)
    picture = _of_file(file, what) if file is not None else _picture(session, what)
    if as_json:
        session.output.data(picture)
        return
    text = writers[format_](picture)
    if output is None:
        print(text, end="")
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}") from error
    session.output.line(f"wrote {output}")


def _picture(session: Session, what: str) -> Picture:
    """Of code if it looks like a file or names a workflow of a module, else of a run, else of a module.

    Raises:
        ConfigurationError: it is nothing of these.
    """
    from durable.errors import ConfigurationError, RunNotFoundError

    is_file = what.partition(":")[0].endswith(".py")
    if is_file:
        return _of_code(what)
    try:
        return session.with_run(what, _of_run, read_only=True)
    except RunNotFoundError as missing:
        try:
            return _of_code(what)
        except ConfigurationError as error:
            raise ConfigurationError(f"{missing.message}; and as a target: {error.message}") from error


async def _of_run(client: Client, run: Any) -> Picture:
    from durable.graph import draw_history

    row = await run.row()
    return draw_history(await client.store.read_history(row.run_id), f"{row.workflow_id} ({row.workflow})")


def _of_file(file: str, what: str) -> Picture:
    from durable.errors import RunNotFoundError
    from durable.graph import draw_history
    from runtime.replay.file import load_file

    for one in load_file(file):
        identity = one.recording.identity
        if what in (identity.workflow_id, identity.run_id):
            return draw_history(one.recording.events, f"{identity.workflow_id} ({identity.workflow})")
    raise RunNotFoundError(f"no run {what!r} in {file}", workflow_id=what)


def _of_code(target: str) -> Picture:
    import inspect
    from dataclasses import replace

    from durable.errors import ConfigurationError
    from durable.graph import draw_code
    from runtime.cli.target import load_one

    _, definition = load_one(target)
    function: Any = inspect.unwrap(definition.fn)
    try:
        source = inspect.getsource(inspect.getmodule(function))  # type: ignore[arg-type]
    except (OSError, TypeError) as error:
        raise ConfigurationError(f"the source of {definition.name!r} is not at hand: {error}") from error
    picture = draw_code(source, function.__name__, function.__code__.co_firstlineno)
    return replace(picture, title=definition.name)
