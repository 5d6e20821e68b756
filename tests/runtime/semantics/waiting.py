"""Waiting for what a run's row says, without asking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from durable.handle import RunStatus
from runtime.store.row import RunRow

PATIENCE = 30


async def until_row(run: Any, holds: Callable[[RunRow], Awaitable[bool]]) -> RunRow:
    """Wait until something holds of a run's row, and return the row."""

    async def look() -> RunRow | None:
        row: RunRow = await run.row()
        return row if await holds(row) else None

    async with asyncio.timeout(PATIENCE):
        found: RunRow = await run._client.watch.until(look, lambda change: True)
        return found


async def until_stuck(run: Any) -> RunRow:
    """Wait until a run is stuck."""

    async def is_stuck(row: RunRow) -> bool:
        return row.status is RunStatus.STUCK

    return await until_row(run, is_stuck)
