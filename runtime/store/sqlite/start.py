"""How runs come into being. A function here that raises has written nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from durable.errors import RunExistsError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from runtime.store.row import InboxRow, NewRun, StartOutcome, UpdateRow
from runtime.store.rule import WAYS_OUT, check_newest
from runtime.store.sqlite.delivery import (
    Receipt,
    check_receipt,
    examine,
    has_update,
    post,
    put,
    refer_to_blobs,
    write_update,
)
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.state import Run
from runtime.store.sqlite.statement import load

_PART: Final = load("part")


def start(session: Session, new: NewRun, update: UpdateRow | None) -> StartOutcome:
    """Create a run or find the one that has its id; ``Store.start``."""
    for one in (new, *new.children):
        newest = session.current(one.workflow_id)
        check_newest(one, newest.run_id if newest else None, newest.status if newest else None)
    existing = holder(session, new)
    if existing is not None:
        _check_attachable(existing, new)
    is_known_update = update is not None and has_update(session, update)
    messages = [
        replace(message, workflow_id=new.workflow_id, run_id=existing.run_id if existing else None)
        for message in new.messages
        if not (is_known_update and message.fact.kind == EventKind.UPDATE_ACCEPTED)
    ]
    if existing is None:
        run = create_run(session, replace(new, messages=()) if new.messages else new)
        for message in messages:
            if examine(session, run, message) is not Receipt.REPEATED:
                put(session, run, message, run.run_id)
        for child in new.children:
            create_run(session, child)
    else:
        run = existing
        for message in messages:
            check_receipt(examine(session, run, message), message, run)
        for message in messages:
            post(session, message)
    if update is not None and not is_known_update:
        run.has_parts = True
        write_update(session, update)
    return StartOutcome(run.row(), existing is None)


def holder(session: Session, new: NewRun) -> Run | None:
    """The run that keeps a new one from its workflow id, if there is one."""
    run = session.current(new.workflow_id)
    if run is None or (new.on_conflict == "replace" and run.status.is_closed):
        return None
    return run


def _check_attachable(run: Run, new: NewRun) -> None:
    """Refuse a start whose id is taken, unless it is the same start again."""
    is_same = (run.workflow, run.input_digest) == (new.workflow, new.input_digest)
    if new.on_conflict == "attach" and is_same:
        return
    why = "has it already" if new.on_conflict != "attach" else "has it with another workflow or input"
    raise RunExistsError(
        f"workflow id {new.workflow_id!r} is taken: run {run.run_id} ({run.status}) {why}; {WAYS_OUT}",
        workflow_id=new.workflow_id,
        run_id=run.run_id,
        status=str(run.status),
    )


def create_run(session: Session, new: NewRun) -> Run:
    """Insert a new run with its start and its messages as its first inbox rows."""
    run = Run(
        (
            session.next_key(),
            new.run_id,
            new.workflow_id,
            new.workflow,
            new.queue,
            RunStatus.PENDING,
            RollbackStatus.NONE,
            new.owner,
            0 if new.owner is None else 1,
            0,
            new.ready_at_us,
            new.created_at_us,
            None,
            None,
            new.origin_id,
            new.first_run_id,
            new.parent_run_id,
            new.parent_command,
            new.on_parent_close,
            False,
            None,
            None,
            None,
            new.input_digest,
            new.actor,
            session.lane(new.workflow, new.queue),
            0,
            False,
        )
    )
    session.add(run)
    if new.history:
        session.append(run, new.history)
        refer_to_blobs(session, run, (event.payload for event in new.history))
    if new.attributes:
        set_attributes(session, run, new.attributes)
    if new.start is not None:
        put(
            session,
            run,
            InboxRow(new.workflow_id, new.run_id, None, new.start, new.created_at_us),
            new.run_id,
        )
    for message in new.messages:
        put(session, run, message, new.run_id)
    return run


def set_attributes(session: Session, run: Run, attributes: Mapping[str, Any]) -> None:
    """Write searchable attributes; None removes one."""
    for name, value in attributes.items():
        if value is None:
            session.execute(_PART["delete_attribute"], (run.key, name))
        else:
            session.execute(_PART["set_attribute"], (run.key, name, canonical(value)))


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
