"""Waiting for what a run's row says, without asking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from durable.handle import RunStatus
from runtime.store.row import RunRow

PATIENCE = 30


async def until(client: Any, look: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until something true is found in a client's store, and return it."""

    async def look_again() -> Any:
        return await look() or None

    async with asyncio.timeout(PATIENCE):
        return await client.watch.until(look_again, lambda change: True)


async def until_row(run: Any, holds: Callable[[RunRow], Awaitable[bool]]) -> RunRow:
    """Wait until something holds of a run's row, and return the row."""

    async def look() -> RunRow | None:
        row: RunRow = await run.row()
        return row if await holds(row) else None

    found: RunRow = await until(run._client, look)
    return found


async def until_stuck(run: Any) -> RunRow:
    """Wait until a run is stuck."""

    async def is_stuck(row: RunRow) -> bool:
        return row.status is RunStatus.STUCK

    return await until_row(run, is_stuck)
