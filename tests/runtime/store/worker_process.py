"""A process that joins a store as a worker, claims what it can, and then does what its last argument says."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from runtime.store.row import WorkerRow
from runtime.store.sqlite import SqliteStore


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(path: str, worker_id: str, lease_seconds: str, then: str) -> None:
    store = SqliteStore(Path(path))
    await store.open()
    row = WorkerRow(worker_id, "host", os.getpid(), 0, ("default",), ("order",))
    lease = await store.join(row, float(lease_seconds))
    claimed = await store.claim(worker_id, ["order"], ["default"], 10, 10**16)
    say(f"joined {len(claimed)}")
    if then == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        say(f"child {child}")
    was_fresh = True
    while was_fresh:
        lease.loop_alive()
        was_fresh = lease.is_fresh()
        await asyncio.sleep(0.01)
    say("lapsed")
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
