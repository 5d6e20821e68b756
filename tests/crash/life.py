"""One life of a process: a worker and a client, from where the process before left off to the end of every run."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from crash.ledger import Ledger, open_ledger
from crash.shape import PATIENCE, Shape, Talk
from durable.errors import RunCancelledError, RunFailedError, RunTerminatedError, RunTimeoutError
from durable.history import EventKind, verify_chain
from durable.info import RunIdentity
from durable.kernel.replayer import Replayer
from durable.registry import Registry
from runtime import Client, Runtime, Worker
from runtime.client.handle import RunHandle
from runtime.store.protocol import Store
from runtime.store.row import RunFilter

WORKFLOW_ID = "main"
ENDINGS = (RunFailedError, RunCancelledError, RunTerminatedError, RunTimeoutError)
OUTCOMES = frozenset({EventKind.STEP_COMPLETED, EventKind.STEP_FAILED, EventKind.STEP_CANCELLED})


def live(shape: Shape, folder: Path, cache_size: int) -> None:
    """Live to the end, and leave a report."""
    report = asyncio.run(_live(shape, folder, cache_size))
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


async def _live(shape: Shape, folder: Path, cache_size: int) -> dict[str, Any]:
    ledger = open_ledger(folder / "ledger.jsonl")
    url = f"sqlite:///{folder / 'durable.db'}"
    await _note_what_is_done(url, folder, ledger)
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(Runtime(url, workflows=shape.workflows, cache_size=cache_size))
        if shape.queues:
            await stack.enter_async_context(Worker(url, workflows=shape.workflows, queues=shape.queues))
        run = await _start(runtime, shape, ledger)
        if shape.talk is not None:
            await shape.talk(Talk(runtime, run, ledger))
        outcome = await _outcome(run)
        for summary in [summary async for summary in runtime.list()]:
            await _outcome(runtime.get(summary.workflow_id, summary.run_id))
    async with Client(url) as client:
        runs = [await _describe(client, shape, summary) async for summary in client.list()]
        left = await _leftovers(client.store)
    return {"outcome": outcome, "runs": runs[::-1], "left": left, "rows": _rows(folder / "durable.db")}


async def _note_what_is_done(url: str, folder: Path, ledger: Ledger) -> None:
    """Note the steps whose outcome is on disk as this life begins: they must not run again."""
    if not (folder / "durable.db").exists():
        return
    async with Client(url) as client:
        done = [
            [summary.run_id, event.command]
            async for summary in client.list()
            for event in await client.store.read_history(summary.run_id)
            if event.kind in OUTCOMES
        ]
    ledger.note("life", done=done)


async def _start(client: Client, shape: Shape, ledger: Ledger) -> RunHandle[Any]:
    """Start the run, unless that was acknowledged to a process before."""
    known = next((line["run_id"] for line in ledger.lines() if line["kind"] == "started"), None)
    if known is not None:
        return client.get(WORKFLOW_ID, known)
    run = await client.start(shape.workflow.options(id=WORKFLOW_ID), *shape.arguments)
    ledger.note("started", run_id=run.run_id)
    return run


async def _outcome(run: RunHandle[Any]) -> str:
    try:
        return repr(await run.result(timeout=PATIENCE))
    except ENDINGS as error:
        return type(error).__name__ + (f": {error.__cause__}" if error.__cause__ else "")


async def _describe(client: Client, shape: Shape, summary: Any) -> dict[str, Any]:
    """Everything about a run that a crash must not change."""
    store, run_id = client.store, summary.run_id
    row = await store.get_run_by_id(run_id)
    assert row is not None
    history = await store.read_history(run_id)
    verify_chain(history)
    _replay(shape, row, history, await store.read_blobs(run_id), client)
    return {
        "workflow": row.workflow,
        "status": row.status,
        "rollback": row.rollback,
        "waiting_for": row.waiting_for,
        "owner": row.owner,
        "history": [[event.kind, event.name, event.command] for event in history],
        "attributes": dict(await store.read_attributes(run_id)),
        "published": dict(await store.read_published(run_id)),
        "stream": [[item.position, item.payload] for item in await store.read_stream(run_id, "words", 0, 100)],
        "logs": [log.message for log in await store.read_logs(run_id, 100)],
    }


def _replay(shape: Shape, row: Any, history: Any, blobs: Any, client: Client) -> None:
    """The history is one that the code could have made."""
    definition = next(item for item in shape.workflows if item.name == row.workflow)
    identity = RunIdentity(
        row.workflow_id, row.run_id, row.workflow, row.origin_id, row.first_run_id, row.parent_run_id
    )
    replayer = Replayer(
        definition, identity, registry=Registry(shape.workflows), ids=lambda: "", envelope=client.envelope, strict=True
    )
    replayer.load(history, blobs)
    assert replayer.status == row.status
    replayer.evict()


async def _leftovers(store: Store) -> dict[str, int]:
    """What nobody will ever take."""
    runs, _ = await store.list_runs(RunFilter(), 100)
    return {
        "questions": len(await store.questions()),
        "tasks": sum([len(await store.read_tasks(run.run_id)) for run in runs]),
        "inbox": sum([len(await store.read_inbox(run.run_id)) for run in runs]),
        "ready": sum(run.ready_at_us is not None for run in runs),
    }


def _rows(path: Path) -> list[int]:
    """What transactional steps wrote beside the store's tables."""
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'accounts'").fetchone():
            return []
        return [amount for (amount,) in connection.execute("SELECT amount FROM accounts ORDER BY number")]
