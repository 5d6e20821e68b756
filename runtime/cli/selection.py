"""Which runs a command in bulk is about.

A pause or resume that no worker has looked at yet counts as if it were done: who pauses many runs and then resumes
them means the same ones, whether or not a worker came in between.

A run that ended badly and was retried or replaced is left out: what is to be done is done with the newest run of its id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from durable.duration import instant_us
from durable.handle import RunStatus
from durable.history import EventKind
from runtime.client.rerun import RETRIABLE

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.client.description import RunSummary

_UNPAUSED = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING})
"""Open, and neither paused nor stuck."""

_PAUSES = frozenset({EventKind.RUN_PAUSED, EventKind.RUN_RESUMED})


async def select_runs(client: Client, conditions: Mapping[str, Any], *, retries: bool = False) -> list[str]:
    """Run ids of the runs that match, by the status that they have or are about to have.

    Args:
        conditions: as of ``Client.list``, with at least one status.
        retries: leave out the children of runs that ended badly, because a retry of those takes them along.
    """
    wanted = frozenset(RunStatus(status) for status in conditions["status"])
    looked_at = set(wanted)
    if RunStatus.PAUSED in wanted:
        looked_at |= _UNPAUSED
    elif wanted & _UNPAUSED:
        looked_at.add(RunStatus.PAUSED)
    found = _matching(client, {**conditions, "status": sorted(looked_at)}, wanted)
    return [run.run_id async for run in found if not (retries and await _has_failed_parent(client, run))]


async def _has_failed_parent(client: Client, run: RunSummary) -> bool:
    parent = None if run.parent_run_id is None else await client.store.get_run_by_id(run.parent_run_id)
    return parent is not None and parent.status in RETRIABLE


async def _matching(
    client: Client, conditions: dict[str, Any], wanted: frozenset[RunStatus]
) -> AsyncIterator[RunSummary]:
    now_us = client.clock.now_us()
    async for run in client.list(**conditions):
        pauses = await _will_pause(client, run) if _may_have_mail(run, now_us) else None
        if pauses is True:
            is_wanted = RunStatus.PAUSED in wanted
        elif pauses is False and run.status is RunStatus.PAUSED:
            is_wanted = bool(wanted & _UNPAUSED)
        else:
            is_wanted = run.status in wanted
        if is_wanted and run.superseded_by is None:
            yield run


def _may_have_mail(run: RunSummary, now_us: int) -> bool:
    """Whether an order may wait for the run: then it wants a worker, unless its first turn is still to come."""
    if run.status not in _UNPAUSED:
        return run.status is RunStatus.PAUSED
    is_due = run.next_at is not None and instant_us(run.next_at) <= now_us
    return is_due or run.worker is not None or run.status is RunStatus.PENDING


async def _will_pause(client: Client, run: RunSummary) -> bool | None:
    """What the newest order to pause or resume that waits for the run says; None if there is none."""
    orders = [row.fact.kind for row in await client.store.read_inbox(run.run_id) if row.fact.kind in _PAUSES]
    return orders[-1] == EventKind.RUN_PAUSED if orders else None
