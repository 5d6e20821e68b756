"""A process that starts five runs one after another and says which starts were acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from durable.history import EventKind, Fact
from runtime.store.row import NewRun
from runtime.store.sqlite import SqliteStore


async def main(path: str) -> None:
    store = SqliteStore(Path(path))
    await store.open()
    for name in "abcde":
        await store.start(
            NewRun(
                run_id=f"run-{name}",
                workflow_id=name,
                workflow="order",
                queue="default",
                actor="user:alice",
                created_at_us=0,
                ready_at_us=0,
                origin_id=f"run-{name}",
                first_run_id=f"run-{name}",
                input_digest="",
                start=Fact(EventKind.RUN_STARTED),
            )
        )
        await store.claim("nobody", ["other"], ["default"], 1, 0)
        sys.stdout.write(name)
        sys.stdout.flush()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
