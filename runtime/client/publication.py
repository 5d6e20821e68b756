"""What a workflow publishes while it runs: values by key, and streams of items."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from durable.codec import value_codec
from runtime.client.waiting import moved
from runtime.store.row import RunRow, StreamItem

if TYPE_CHECKING:
    from runtime.client.client import Client

PAGE = 100
"""Items of a stream that are read at once."""


async def read_published(client: Client, row: RunRow, key: str) -> Any:
    """A value that a run published.

    Raises:
        KeyError: it has published nothing under this key.
    """
    values = await client.store.read_published(row.run_id)
    return value_codec(Any).decode(client.envelope.open(values[key]))


async def follow_stream(client: Client, run_id: str, name: str, start: int) -> AsyncGenerator[Any, None]:
    """Items of an output stream from position ``start`` on, and those to come, until the run ends."""
    position = start

    async def look() -> tuple[list[StreamItem], bool] | None:
        row = await client.store.get_run_by_id(run_id)
        items = await client.store.read_stream(run_id, name, position, PAGE)
        closed = row is None or row.status.is_closed
        return (list(items), closed) if items or closed else None

    while True:
        items, closed = await client.watch.until(look, lambda change: moved(change, run_id))
        for item in items:
            position = item.position + 1
            yield value_codec(Any).decode(client.envelope.open(item.payload))
        if closed and not items:
            return
