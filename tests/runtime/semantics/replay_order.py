"""Replays every run of a store in this process: ``python -m semantics.replay_order URL``."""

from __future__ import annotations

import asyncio
import sys

from runtime import Client
from semantics.order_workflows import order_of
from semantics.replaying import replay


async def main(url: str) -> None:
    async with Client(url) as client:
        async for run in client.list(workflow=order_of.name):
            history = await client.get(run.workflow_id).history()
            replayed = replay(order_of, history, workflow_id=run.workflow_id, run_id=run.run_id)
            print(run.workflow_id, replayed.status)
            replayed.evict()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
