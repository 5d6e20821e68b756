"""Keeping house: ``purge``, ``backup``, ``bench``, ``version``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.options import Json, Store

if TYPE_CHECKING:
    from runtime.cli.session import Session


def purge(
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", metavar="DURATION", help="Runs that ended longer ago than this, like 30d, 12h or 90s."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, after the count.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Delete ended runs with all that belongs to them, after asking.

    Runs whose rollback is not complete stay, and so do children of open runs.
    """
    from datetime import timedelta

    from durable.duration import to_us
    from runtime.cli.moment import parse_duration
    from runtime.cli.output import count as counted
    from runtime.cli.session import Session
    from runtime.client.client import Client
    from runtime.store.row import RunFilter

    session = Session(store, None, as_json)
    age = parse_duration(older_than, "--older-than")

    async def look(client: Client) -> tuple[int, int]:
        before_us = client.clock.now_us() - to_us(age)
        return before_us, await client.store.count_runs(RunFilter(closed_before_us=before_us))

    before_us, found = session.run(look) or (0, 0)

    async def delete(client: Client) -> int:
        # What ended while the question stood was not counted, and stays.
        return await client.purge(timedelta(microseconds=client.clock.now_us() - before_us))

    url = session.open_store().url
    ended = f"{counted(found, 'run')} ended more than {older_than} ago in {url}"
    if found and not dry_run:
        _confirm(session, ended, f"delete {counted(found, 'run')}", yes=yes)
    deleted = 0 if dry_run or not found else session.run(delete) or 0
    if as_json:
        session.output.data({"store": url, "deleted": deleted, "matched": found})
    elif dry_run:
        session.output.line(ended)
    else:
        session.output.line(f"deleted {counted(deleted, 'run')} from {url}")


def _confirm(session: Session, found: str, deed: str, *, yes: bool) -> None:
    """Tell what was found, and ask.

    Raises:
        ConfigurationError: nobody said yes.
    """
    from durable.errors import ConfigurationError

    if yes:
        return
    session.output.note(found)
    if not (sys.stdin.isatty() and typer.confirm(f"{deed}?", err=True)):
        raise ConfigurationError(f"nothing was done; to {deed} without being asked, add --yes")


def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The copy; it must not exist.", show_default=False)],
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Write a consistent copy of the store.

    Others may go on writing meanwhile.
    """
    from pathlib import Path

    from durable.errors import StoreError
    from runtime.cli.session import Session
    from runtime.client.client import Client

    session = Session(store, None, as_json)
    target = Path(file).absolute()

    async def work(client: Client) -> bool:
        await client.store.backup(target)
        return True

    if session.run(work, only_looks=True) is None:
        raise StoreError(f"there is no store at {session.open_store().url}")
    if as_json:
        session.output.data({"file": str(target)})
    else:
        session.output.line(f"wrote {target}; open it with --store sqlite:///{target}")


def bench(
    sleepers: Annotated[
        int, typer.Option(min=1, help="Sleeping runs to measure; a million take some minutes.")
    ] = 20_000,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Measure what this machine and disk can do.

    Figures are ratios to the same rows written without the engine.
    """
    from runtime.bench import main

    main(store, as_json, sleepers)


def version(store: Store = None, as_json: Json = False) -> None:
    """Show the version of durable and of what it depends on.

    The store is the one that commands would use here; it is not opened.
    """
    from runtime.cli.session import Session

    session = Session(store, None, as_json)
    versions = {**_versions(), "store": session.open_store().url}
    if as_json:
        session.output.data(versions)
        return
    for name, number in versions.items():
        session.output.line(f"{name:<10} {number}")


def own_version() -> str:
    """The version of durable."""
    import importlib.metadata

    return f"durable {importlib.metadata.version('durable')}"


def _versions() -> dict[str, Any]:
    import importlib.metadata
    import platform
    import sqlite3

    from durable.history import KERNEL_VERSION

    return {
        "durable": importlib.metadata.version("durable"),
        "kernel": KERNEL_VERSION,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: importlib.metadata.version(name) for name in ("anyio", "pydantic", "typer")},
        "platform": platform.platform(),
    }
