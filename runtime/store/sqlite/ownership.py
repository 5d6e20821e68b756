"""Who holds which run: claims, releases and takeovers (rules D3, D5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from durable.history import Fact
from runtime.store.row import Claimed, InboxRow
from runtime.store.rule import WAKERS, may_adopt, was_tried
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.state import Run
from runtime.store.sqlite.statement import Bulk, load
from runtime.store.sqlite.task import free_task, task_row

_RUN: Final = load("run")
_TASK: Final = load("task")
_READ_INBOX: Final = Bulk(load("inbox")["read"], 1)

LONG_AGO: Final = 0
"""A time that every clock has passed: what is due since then is due now."""


def inbox_row(columns: tuple[Any, ...]) -> InboxRow:
    """An inbox row out of the columns of the ``read`` statement."""
    workflow_id, run_id, message_id, kind, command, name, detail, payload, actor, at_us, row_id = columns
    return InboxRow(workflow_id, run_id, message_id, Fact(kind, command, name, detail, payload, actor), at_us, row_id)


def claim(
    session: Session, worker_id: str, workflows: Sequence[str], queues: Sequence[str], limit: int, now_us: int
) -> list[Claimed]:
    """``Store.claim``: walks one short index a (workflow, queue) pair, from its oldest entry."""
    due = session.execute_flushed(_RUN["owned_ready"], (worker_id, now_us, limit)).fetchall()
    served = {(workflow, queue) for workflow in workflows for queue in queues}
    for pair, lane in session.lanes().items():
        if pair in served:
            due += session.execute(_RUN["free_ready"], (lane, now_us, limit)).fetchall()
    due.sort(key=lambda found: (found[1], found[0]))
    runs = session.runs([key for key, _ in due[:limit]])
    if not runs:
        return []
    for run in runs:
        if run.owner is None:
            run.owner = worker_id
            run.epoch += 1
        run.ready_at_us = None
        session.change_head(run)
    inboxes: dict[str, list[InboxRow]] = {run.workflow_id: [] for run in runs if run.unread}
    for columns in _READ_INBOX.read(session.connection, list(inboxes)):
        inboxes[columns[0]].append(inbox_row(columns))
    return [Claimed(run.row(), _may_take(run, inboxes.get(run.workflow_id, ()))) for run in runs]


def _may_take(run: Run, rows: Sequence[InboxRow]) -> list[InboxRow]:
    is_open = not run.status.is_closed
    return [row for row in rows if row.run_id == run.run_id or (row.run_id is None and is_open)]


def adopt(session: Session, worker_id: str, run_ids: Sequence[str]) -> None:
    """``Store.adopt``."""
    for run_id in run_ids:
        run = session.run(run_id)
        if run is not None and run.owner is None and may_adopt(run.status, run.rollback, run.ready_at_us):
            run.owner = worker_id
            run.epoch += 1
            session.change_head(run)
            session.draft.ready = True


def unstick(
    session: Session, worker_id: str, codes: Mapping[str, str], queues: Sequence[str], limit: int, now_us: int
) -> int:
    """``Store.unstick``: looks at the runs that are stuck, and at no others."""
    own = {
        lane: codes[workflow]
        for (workflow, queue), lane in session.lanes().items()
        if workflow in codes and queue in queues
    }
    stuck = session.execute_flushed(_RUN["stuck"])
    keys = list(islice((key for key, lane, tried in stuck if lane in own and not was_tried(tried, own[lane])), limit))
    for run in session.runs(keys):
        run.owner = worker_id
        run.epoch += 1
        run.ready_at_us = now_us
        session.change_head(run)
        session.draft.ready = True
    return len(keys)


def take_over(session: Session, alive: Collection[str], look_again: Callable[[], Collection[str]], now_us: int) -> int:
    """``Store.take_over``: free what workers hold that are not among the living.

    Args:
        alive: who was alive a while ago: this may have waited for the write lock.
        look_again: who is alive now. Who holds something joined before, so nobody is missed who has come since.
    """
    session.flush()
    holders = [owner for (owner,) in session.execute(_RUN["owners"]).fetchall()]
    servants = [owner for (owner,) in session.execute(_TASK["owners"]).fetchall()]
    dead = {*holders, *servants}.difference(alive)
    if dead:
        dead.difference_update(look_again())
    freed = sum(_free_runs(session, owner, now_us, lost=True) for owner in holders if owner in dead)
    return freed + sum(_free_tasks(session, owner, now_us, losses=1) for owner in servants if owner in dead)


def leave(session: Session, worker_id: str) -> None:
    """Give back all that a worker holds, without a loss."""
    _free_runs(session, worker_id, LONG_AGO, lost=False)
    _free_tasks(session, worker_id, LONG_AGO, losses=0)


def _free_runs(session: Session, owner: str, at_us: int, *, lost: bool) -> int:
    keys = [key for (key,) in session.execute_flushed(_RUN["owned_by"], (owner,))]
    for run in session.runs(keys):
        run.owner = None
        run.epoch += 1
        run.lost = run.lost or lost
        session.change_head(run)
        is_delayed = run.seq == 0 and run.ready_at_us is not None
        if run.status in WAKERS:
            session.wake_if_unread(run)  # the owner may have taken what wakes it, and done nothing with it
        elif not is_delayed:
            session.wake(run, at_us)
        session.draft.ready = True
    return len(keys)


def _free_tasks(session: Session, owner: str, at_us: int, *, losses: int) -> int:
    tasks = [task_row(columns) for columns in session.execute_flushed(_TASK["of_owner"], (owner,))]
    for task in tasks:
        run = session.run(task.run_id)
        assert run is not None, "a task is deleted with its run"
        free_task(session, run, replace(task, epoch=task.epoch + 1, losses=task.losses + losses), at_us)
    return len(tasks)
