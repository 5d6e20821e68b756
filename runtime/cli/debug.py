"""``durable debug``: a run as it stood after an event, in the debugger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.exitcode import ExitCode
from runtime.cli.options import Codecs, Json, Store

if TYPE_CHECKING:
    from durable.replay import Recording
    from runtime.cli.session import Session
    from runtime.client.client import Client


def debug(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="ID TARGET",
            help="Workflow id or run id of the run, and its code: file.py, file.py:workflow, module or module:workflow. With "
            "--file the id may be left out.",
            show_default=False,
        ),
    ],
    at: Annotated[
        int | None,
        typer.Option(
            "--at", metavar="EVENT", min=1, help="Stop after this event. Default: the last one.", show_default=False
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="An exported run instead of a store's.", show_default=False),
    ] = None,
    store: Store = None,
    codecs: Codecs = None,
    as_json: Json = False,
) -> int:
    """Open the debugger where a run stood after an event.

    The run is replayed up to there, no step is run and nothing is written. The frame is that of the workflow's innermost function with its
    locals; `up` goes to who awaits it, `tasks` lists the run's other tasks and `task NAME` goes to one. Without a terminal the debugger takes its
    commands from standard input; with --json the frames are printed instead.
    """
    from durable.errors import ConfigurationError
    from durable.registry import Registry
    from durable.replay.standstill import stand_still
    from runtime.cli.session import Session
    from runtime.cli.target import load_all
    from runtime.replay import replay_store  # noqa: F401 - before any code of the user's can take a name of ours

    least = 1 if file is not None else 2
    if not least <= len(words) <= 2:
        raise ConfigurationError("expected the id of a run and the target with its code: durable debug ID app.py")
    *ids, target = words
    session = Session(store, codecs, as_json)
    if not as_json:
        commands = _commands()
    recording = _from_file(file, ids) if file is not None else _from_store(session, ids[0])
    if at is not None and at > len(recording.events):
        raise ConfigurationError(
            f"{recording.identity.workflow_id} has {len(recording.events)} events; there is none with the number {at}"
        )
    code = load_all([target])
    found = stand_still(recording, Registry(code.workflows, code.steps), at, codecs=session.load_codecs())
    try:
        if as_json:
            _tell(session, found)
        else:
            from runtime.cli.debugger import open_debugger

            open_debugger(session, found, commands)
    finally:
        found.close()
    return ExitCode.OK


def _commands() -> str | None:
    """What standard input holds for the debugger; None on a terminal.

    Raises:
        ConfigurationError: there is neither a terminal nor a command.
    """
    import sys

    from durable.errors import ConfigurationError

    if sys.stdin is not None and sys.stdin.isatty():
        return None
    text = "" if sys.stdin is None else sys.stdin.read()
    if not text.strip():
        raise ConfigurationError(
            "durable debug needs a terminal, or commands of pdb on standard input, such as: "
            "echo 'p order' | durable debug ID TARGET; with --json it prints the frames"
        )
    return text


def _from_store(session: Session, run_id: str) -> Recording:
    from runtime.replay.reading import read_recording

    async def read(client: Client, run: Any) -> Recording:
        return await read_recording(client.store, await run.row())

    return session.with_run(run_id, read, read_only=True)


def _from_file(file: str, ids: list[str]) -> Recording:
    from durable.errors import RunNotFoundError
    from runtime.replay.file import load_file

    runs = [run.recording for run in load_file(file)]
    if not ids:
        return runs[0]
    for one in runs:
        if ids[0] in (one.identity.workflow_id, one.identity.run_id):
            return one
    known = ", ".join(one.identity.workflow_id for one in runs)
    raise RunNotFoundError(f"no run {ids[0]!r} in {file} (it has {known})", workflow_id=ids[0])


def _tell(session: Session, found: Any) -> None:
    from durable.replay.report import finding_fields
    from durable.replay.standstill import frame_fields

    session.output.data(
        {
            "event": found.event,
            "waits_for": found.waits_for,
            "breakage": None if found.breakage is None else finding_fields(found.breakage),
            "tasks": [
                {"task": one.task, "frames": [frame_fields(frame) for frame in one.frames]} for one in found.stands
            ],
        }
    )
