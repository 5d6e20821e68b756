"""``durable replay``: would the runs of a store go on with this code?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.options import Codecs, Json, Status, Store, Workflow

if TYPE_CHECKING:
    from runtime.replay.selection import Selection

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET",
        envvar="DURABLE_TARGETS",
        help="The code, as for worker: file.py, file.py:workflow, module or module:workflow. "
        "Default: targets of [tool.durable].",
        show_default=False,
    ),
]
Files = Annotated[
    list[str] | None,
    typer.Option(
        "--file", metavar="FILE", help="Replay an exported run instead of a store; repeatable.", show_default=False
    ),
]


def replay(
    targets: Targets = None,
    file: Files = None,
    run_id: Annotated[
        list[str] | None,
        typer.Option(
            "--id", metavar="ID", help="Only this run, by workflow id or run id; repeatable.", show_default=False
        ),
    ] = None,
    workflow: Workflow = None,
    status: Status = None,
    all_runs: Annotated[bool, typer.Option("--all", help="Ended runs as well.")] = False,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="Only N runs, by chance.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Of the sample; printed if it is not given.", show_default=False),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="REV",
            help="Replay the same histories with the code of this git revision as well, and compare.",
            show_default=False,
        ),
    ] = None,
    allow_input_changes: Annotated[
        bool,
        typer.Option(
            "--allow-input-changes", help="An input that differs from the recorded one is no breakage, as for a worker."
        ),
    ] = False,
    store: Store = None,
    codecs: Codecs = None,
    as_json: Json = False,
) -> int:
    """Say which runs would break with the code as it is now.

    Every unfinished run of the store is replayed in strict mode; no step is run and nothing is written, so workers may go on meanwhile. The
    exit code is 0 if all would go on, 1 if some would break.
    """
    import asyncio

    from durable.errors import ConfigurationError
    from runtime.cli.guarding import Order, check
    from runtime.cli.session import Session
    from runtime.cli.target import load_all
    from runtime.replay import replay_store  # noqa: F401 - before any code of the user's can take a name of ours
    from runtime.worker.interpreter import tune_interpreter

    session = Session(store, codecs, as_json)
    if not targets:
        raise ConfigurationError("durable replay needs a target, such as app.py, or targets in [tool.durable]")
    selection = _selection(run_id, workflow, status, all_runs, sample, seed)
    if file and selection != type(selection)():
        raise ConfigurationError("--file names the runs; leave out the flags that choose runs of a store")
    order = Order(tuple(targets), tuple(file or ()), selection, strict=not allow_input_changes)
    if against is not None:
        from runtime.cli.comparing import compare_revisions

        return compare_revisions(session, order, against)
    code = load_all(list(targets))
    tune_interpreter()
    return asyncio.run(check(session, order, code))


def _selection(
    run_id: list[str] | None,
    workflow: str | None,
    status: list[str] | None,
    all_runs: bool,
    sample: int | None,
    seed: int | None,
) -> Selection:
    import secrets

    from durable.errors import ConfigurationError
    from runtime.cli.filter import Flags
    from runtime.replay.selection import Selection

    if seed is not None and sample is None:
        raise ConfigurationError("--seed is the seed of --sample N")
    if status and all_runs:
        raise ConfigurationError("--status and --all contradict each other")
    if run_id and (workflow or status or all_runs or sample):
        raise ConfigurationError("--id names the runs; leave out the flags that choose among all")
    if sample is not None and seed is None:
        seed = secrets.randbelow(1_000_000)
    chosen = Flags(status).conditions()["status"] if status else ()
    return Selection(tuple(run_id or ()), workflow, tuple(chosen), all_runs, sample, seed)
