"""Pausing (rule H8): what a worker makes of orders to pause, to go on and to cancel that wait for a run.

A pause is acknowledged when it is on disk, so nothing that a worker has not applied by then is applied after it: of what waits
together with a pause, the turn takes the orders only, and the rest, timers that are due included, stays where it is. A run that has
not begun does not begin: it is paused without an event, and its start stays unread beside the pause.

A cancellation ends a pause, or what it asks for would be held for ever: the run goes on, so that it can clean up and roll back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from durable.history import EventKind, Fact
from runtime.store.row import InboxRow

_ORDERS: Final = frozenset({EventKind.RUN_PAUSED, EventKind.RUN_RESUMED})


def stays_paused(inbox: Sequence[InboxRow], *, is_paused: bool) -> bool:
    """Whether a run is paused once it has taken these rows, and takes nothing but its orders now."""
    for row in inbox:
        if row.fact.kind == EventKind.CANCEL_REQUESTED:
            return False
        if row.fact.kind in _ORDERS:
            is_paused = row.fact.kind == EventKind.RUN_PAUSED
    return is_paused


def only_orders(inbox: Sequence[InboxRow]) -> list[InboxRow]:
    """The orders among these rows."""
    return [row for row in inbox if row.fact.kind in _ORDERS]


def before_timers(now_us: int, wake_us: int | None) -> int:
    """A time at which no timer of a run that is to be paused is due."""
    return now_us if wake_us is None else min(now_us, wake_us - 1)


def settle_orders(facts: Sequence[Fact], *, is_paused: bool) -> list[Fact]:
    """The facts without pauses of a paused run, and with the end of a pause before a cancellation."""
    settled: list[Fact] = []
    for fact in facts:
        if fact.kind == EventKind.RUN_PAUSED:
            if is_paused:
                continue
            is_paused = True
        elif fact.kind == EventKind.RUN_RESUMED:
            is_paused = False
        elif fact.kind == EventKind.CANCEL_REQUESTED and is_paused:
            is_paused = False
            settled.append(Fact(EventKind.RUN_RESUMED, actor=fact.actor))
        settled.append(fact)
    return settled
