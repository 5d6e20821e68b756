"""Runs out of a store as recordings, many with one read. What others commit meanwhile does no harm: a history always ends with a turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Final

from durable.handle import RunStatus
from durable.history import Event
from durable.info import RunIdentity
from durable.replay import Recording
from runtime.store.protocol import Store
from runtime.store.row import RunRow

CHUNK_EVENTS: Final = 20_000
"""So many events are held in memory at once, or one run."""

_HALTED: Final = frozenset({RunStatus.PAUSED, RunStatus.STUCK, RunStatus.PENDING})


def identity_of(row: RunRow) -> RunIdentity:
    """The names of a run."""
    return RunIdentity(
        row.workflow_id, row.run_id, row.workflow, row.origin_id, row.first_run_id, row.parent_run_id
    )  # fmt: skip


async def read_recordings(
    store: Store, rows: Sequence[RunRow], now_us: int, limits: Mapping[str, int] | None = None
) -> AsyncIterator[list[Recording]]:
    """The recordings of runs, some at a time. Runs that were purged since they were listed are left out.

    Args:
        now_us: the time; runs that want a worker by now may have mail.
        limits: by run id, the last event to look at.
    """
    for chunk in _chunks(rows):
        histories = await store.read_histories([row.run_id for row in chunk])
        recordings = []
        for row, history in zip(chunk, histories, strict=True):
            if row.seq and not history:
                continue
            limit = None if limits is None else limits.get(row.run_id)
            events = history if limit is None else [event for event in history if event.seq <= limit]
            blobs = await store.read_blobs(row.run_id) if _has_blobs(events) else {}
            has_moved = len(events) < len(history)  # then what waited may have been applied behind the limit
            unread = [] if has_moved or not _may_have_mail(row, now_us) else await store.read_inbox(row.run_id)
            recordings.append(Recording(identity_of(row), events, blobs, [item.fact for item in unread]))
        yield recordings


async def read_recording(store: Store, row: RunRow) -> Recording:
    """The recording of one run, with what waits to be applied."""
    unread = [item.fact for item in await store.read_inbox(row.run_id)]
    history = await store.read_history(row.run_id)
    return Recording(identity_of(row), history, await store.read_blobs(row.run_id), unread)


def _chunks(rows: Iterable[RunRow]) -> Iterator[list[RunRow]]:
    """Runs together whose histories fit into memory."""
    chunk: list[RunRow] = []
    events = 0
    for row in rows:
        if chunk and events + row.seq > CHUNK_EVENTS:
            yield chunk
            chunk, events = [], 0
        chunk.append(row)
        events += row.seq + 1
    if chunk:
        yield chunk


def _has_blobs(events: Iterable[Event]) -> bool:
    return any(event.payload is not None and '"blob"' in event.payload for event in events)


def _may_have_mail(row: RunRow, now_us: int) -> bool:
    """Whether something may wait to be applied: then the run wants a worker, unless it is halted."""
    is_due = row.ready_at_us is not None and row.ready_at_us <= now_us
    return not row.status.is_closed and (is_due or row.owner is not None or row.status in _HALTED)
