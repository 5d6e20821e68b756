"""What a commit tells those who listen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from durable.history import Event
from runtime.store.row import RunRow


class Ending(NamedTuple):
    """How a run ended.

    Attributes:
        row: the run.
        event: its terminal event.
    """

    row: RunRow
    event: Event


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit made others want to look at.

    Unknown (another process wrote): every flag is set and ``closed`` and ``wrote`` are None.

    Attributes:
        ready: a run may want a worker.
        tasks: a task may want a worker.
        queries: a query wants an answer, or got one.
        updates: an update got an outcome.
        closed: ids of the runs that ended; None: any run may have.
        wrote: run ids whose published values, streams, attempts or history grew, whose status or wait changed, or
            that used up what was sent to them; None: any.
        endings: of those of ``closed`` of which the store knows it without looking, how they ended.
    """

    ready: bool = True
    tasks: bool = True
    queries: bool = True
    updates: bool = True
    closed: frozenset[str] | None = None
    wrote: frozenset[str] | None = None
    endings: Mapping[str, Ending] = field(default_factory=dict)
