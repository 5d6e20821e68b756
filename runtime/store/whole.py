"""Histories that are read to their end: what the run's row says of it is checked.

The hash chain shows what was altered or taken out in between, and cannot show that its last events are gone. The row can: it keeps
the number of the last event, and whether one of them ended the run. It must have been read before the history, which only grows.
"""

from __future__ import annotations

from collections.abc import Sequence

from durable.errors import HistoryCorruptedError
from durable.history import TERMINAL, Event
from runtime.store.protocol import Store
from runtime.store.row import RunRow


async def read_whole_history(store: Store, row: RunRow) -> list[Event]:
    """The events of a run, in order; none if the run was purged since its row was read.

    Raises:
        HistoryCorruptedError: events are missing.
    """
    history = await store.read_history(row.run_id)
    try:
        check_whole(row, history)
    except HistoryCorruptedError:
        if await store.get_run_by_id(row.run_id) is None:
            return []
        raise
    return history


def check_whole(row: RunRow, history: Sequence[Event]) -> None:
    """Hold a history that was read from its first event to its last against the run's row.

    Raises:
        HistoryCorruptedError: events are missing; says which.
    """
    last = history[-1].seq if history else 0
    if last < row.seq:
        which = f"event {row.seq} is" if last + 1 == row.seq else f"events {last + 1} to {row.seq} are"
        raise HistoryCorruptedError(
            f"the history of {row.workflow_id!r} (run {row.run_id}) ends with event {last}, but its row says {row.seq}: {which} missing"
        )
    if len(history) < last:
        missing = next(seq for seq, event in enumerate(history, 1) if event.seq != seq)
        raise HistoryCorruptedError(
            f"event {missing} is missing in the history of {row.workflow_id!r} (run {row.run_id})"
        )
    if row.status.is_closed and not any(event.kind in TERMINAL for event in reversed(history)):
        raise no_ending(row)


def no_ending(row: RunRow) -> HistoryCorruptedError:
    """What is wrong with a history without the event that ended its run."""
    return HistoryCorruptedError(
        f"the history of {row.workflow_id!r} (run {row.run_id}) has no event that ended it, but its row says {row.status}"
    )
