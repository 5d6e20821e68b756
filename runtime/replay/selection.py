"""Which runs are replayed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from durable.errors import RunNotFoundError
from durable.handle import RollbackStatus, RunStatus
from runtime.store.protocol import Store
from runtime.store.row import RunFilter, RunRow

OPEN: Final = tuple(status for status in RunStatus if not status.is_closed)
CLOSED: Final = tuple(status for status in RunStatus if status.is_closed)

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs of a store. Without anything given: every unfinished one, and those whose rollback is not over.

    Attributes:
        ids: workflow ids or run ids; only these.
        run_ids: any number of run ids; only these, without those that are gone.
        workflow: only runs of this workflow.
        status: only runs of these statuses.
        all_runs: ended ones as well.
        sample: at most so many, chosen by chance.
        seed: of that choice; the same seed chooses the same runs of a store that has not changed.
    """

    ids: Sequence[str] = ()
    workflow: str | None = None
    status: Sequence[str] = ()
    all_runs: bool = False
    sample: int | None = None
    seed: int | None = None
    run_ids: Sequence[str] = ()


async def select_rows(store: Store, selection: Selection) -> AsyncIterator[list[RunRow]]:
    """The rows of the runs, in pages.

    Raises:
        RunNotFoundError: a run that was asked for by its id is not there.
    """
    if selection.sample is None:
        async for page in _pages(store, selection):
            yield page
        return
    chosen = await _sample(store, selection, selection.sample)
    for start in range(0, len(chosen), _PAGE):
        yield chosen[start : start + _PAGE]


async def _sample(store: Store, selection: Selection, size: int) -> list[RunRow]:
    """Runs by chance, each as likely as any other: Vitter's algorithm R, which need not know how many there are."""
    chance = random.Random(selection.seed)  # noqa: S311 - a sample, not a secret
    chosen: list[RunRow] = []
    seen = 0
    async for page in _pages(store, selection):
        for row in page:
            seen += 1
            if len(chosen) < size:
                chosen.append(row)
            elif (place := chance.randrange(seen)) < size:
                chosen[place] = row
    return chosen


async def _pages(store: Store, selection: Selection) -> AsyncIterator[list[RunRow]]:
    if selection.ids:
        yield [await _find(store, one) for one in selection.ids]
        return
    if selection.run_ids:
        for start in range(0, len(selection.run_ids), _PAGE):
            # Asked for together, they are found by one statement.
            asked = map(store.get_run_by_id, selection.run_ids[start : start + _PAGE])
            yield [row for row in await asyncio.gather(*asked) if row is not None]
        return
    for where in _filters(selection):
        cursor: str | None = None
        while True:
            rows, cursor = await store.list_runs(where, _PAGE, cursor)
            if rows:
                yield rows
            if cursor is None:
                break


def _filters(selection: Selection) -> list[RunFilter]:
    workflow = selection.workflow
    if selection.status:
        return [RunFilter(status=tuple(selection.status), workflow=workflow)]
    if selection.all_runs:
        return [RunFilter(workflow=workflow)]
    return [
        RunFilter(status=OPEN, workflow=workflow),
        *(
            RunFilter(status=CLOSED, workflow=workflow, rollback=rollback)
            for rollback in (RollbackStatus.RUNNING, RollbackStatus.FAILED)
        ),
    ]


async def _find(store: Store, one: str) -> RunRow:
    row = await store.get_run(one) or await store.get_run_by_id(one)
    if row is None:
        raise RunNotFoundError(f"no run {one!r} in {store.url}; see: durable list", workflow_id=one)
    return row
