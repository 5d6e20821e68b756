"""From an order that fails to the smallest one that fails the same way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from durable.testing.explorer.schedule import Schedule

T = TypeVar("T")


async def shrink(
    schedule: Schedule, found: T, attempt: Callable[[Schedule], Awaitable[T | None]], budget: int = 60
) -> tuple[Schedule, T]:
    """Shrink the order of a schedule: fewer choices, then choices nearer to the order of arrival.

    Args:
        schedule: fails.
        found: how.
        attempt: tries a schedule; returns how it fails, or None if it does not fail in the same way.
        budget: how many schedules may be tried.

    Source: Delta debugging (Zeller, Hildebrandt 2002), greedy.
    """
    smaller = _trimmed(schedule.order or ())
    if smaller != schedule.order and (again := await attempt(replace(schedule, order=smaller))) is not None:
        schedule, found, budget = replace(schedule, order=smaller), again, budget - 1
    has_shrunk = True
    while has_shrunk:
        has_shrunk = False
        for order in _candidates(schedule.order or ()):
            if budget <= 0:
                return schedule, found
            budget -= 1
            again = await attempt(replace(schedule, order=order))
            if again is not None:
                schedule, found, has_shrunk = replace(schedule, order=order), again, True
                break
    return schedule, found


def _trimmed(order: tuple[int, ...]) -> tuple[int, ...]:
    while order and order[-1] == 0:
        order = order[:-1]
    return order


def _candidates(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Smaller orders: half of it, without one deviation, with a smaller one."""
    tried = {order}
    halves = [order[: len(order) // 2]] if len(order) > 1 else []
    without = [(*order[:index], 0, *order[index + 1 :]) for index, choice in enumerate(order) if choice]
    nearer = [(*order[:index], choice - 1, *order[index + 1 :]) for index, choice in enumerate(order) if choice > 1]
    for candidate in map(_trimmed, [*halves, *without, *nearer]):
        if candidate not in tried:
            tried.add(candidate)
            yield candidate
