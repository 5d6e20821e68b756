"""Waiting for the end of a run, and then its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable.codec import ValueCodec
from durable.errors import RunNotFoundError
from durable.handle import RunStatus
from durable.history import TERMINAL, Event
from durable.outcome import read_outcome
from runtime.store.change import Ending
from runtime.store.row import RunRow
from runtime.store.whole import read_whole_history

if TYPE_CHECKING:
    from runtime.client.client import Client

_LAST: Final = 64
"""Events at the end of a history, among which its terminal one nearly always is."""


async def await_outcome(client: Client, workflow_id: str, run_id: str, codec: ValueCodec) -> Any:
    """Wait for the end of a run, and of those that continue or retry it; return or raise the outcome of the last.

    Args:
        codec: of the result.
    """
    while True:
        row, event = await _ending(client, workflow_id, run_id)
        if row.status is RunStatus.COMPLETED:
            break
        successor = await client.store.successor(row.run_id)
        if successor is None:
            if row.status is RunStatus.CONTINUED_AS_NEW:
                raise _gone(client, workflow_id, row.run_id)
            break
        run_id = successor.run_id
    has_blob = event.payload is not None and '"blob"' in event.payload
    blobs = await client.store.read_blobs(row.run_id) if has_blob else {}
    if has_blob and not blobs:
        raise _gone(client, workflow_id, row.run_id)
    return read_outcome(row, event, codec, client.envelope, blobs, client.modules)


async def _ending(client: Client, workflow_id: str, run_id: str) -> Ending:
    """Wait for the end of one run."""
    store = client.store

    async def look() -> Ending | None:
        row = await store.get_run_by_id(run_id)
        if row is None:
            raise _gone(client, workflow_id, run_id)
        if not row.status.is_closed:
            return None
        event = await _terminal_event(client, row)
        if event is None:  # purged since
            raise _gone(client, workflow_id, run_id)
        return Ending(row, event)

    return await client.watch.until_ended(run_id, look)


def _gone(client: Client, workflow_id: str, run_id: str) -> RunNotFoundError:
    return RunNotFoundError(f"no run {run_id} of {workflow_id!r} in {client.store.url}", workflow_id=workflow_id)


async def _terminal_event(client: Client, row: RunRow) -> Event | None:
    """The event that ended a run: the last one, unless its rollback went on later. None if its history was purged."""
    history = await client.store.read_history(row.run_id, after_seq=max(0, row.seq - _LAST))
    if not any(event.kind in TERMINAL for event in history):
        history = await read_whole_history(client.store, row)
    return next((event for event in reversed(history) if event.kind in TERMINAL), None)
