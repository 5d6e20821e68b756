"""Updates, from the side of those who send them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from durable.cause import rebuild_reply
from durable.codec import value_codec
from durable.duration import Duration
from durable.errors import DurableError, RunClosedError, UpdateFailedError, UpdateTimeoutError
from durable.handle import RunStatus
from durable.history import EventKind
from durable.messages import Update
from runtime.client.message import update_row
from runtime.client.presence import how_to_serve, is_served
from runtime.client.waiting import closed, in_time, in_words
from runtime.identifier import new_run_id
from runtime.store.row import RunRow, UpdateRow

if TYPE_CHECKING:
    from runtime.client.client import Client


async def request_update(
    client: Client,
    workflow_id: str,
    run_id: str | None,
    update: Update[Any, Any] | str,
    value: Any,
    update_id: str | None,
    timeout: Duration | None,
) -> Any:
    """Send an update and wait for its result; ``RunHandle.update`` says what may be wrong."""
    await client.check_message(workflow_id, "update", update, value)
    chosen = update_id if update_id is not None else new_run_id()
    row, pending = update_row(
        workflow_id, run_id, update, value, chosen, client.envelope, client.actor, client.clock.now_us()
    )
    target = await client.store.send(row, pending)

    async def late() -> TimeoutError:
        why = "" if await is_served(client, target.workflow) else f": {how_to_serve(client, target.workflow)}"
        return UpdateTimeoutError(
            f"update {pending.name!r} is not done within {in_words(timeout)}; it is not lost, and sent again with the update id "
            f"{chosen!r} it is not done twice{why}",
            update_id=chosen,
        )

    done = await in_time(_until_done(client, target.run_id, pending), timeout, late)
    if done.state == "closed":
        raise await _ended_first(client, target, pending)
    if done.state != "completed":
        record = done.payload or "null"
        plain = client.envelope.open(record) if done.state == "failed" else record
        raise rebuild_reply(client.modules, plain, UpdateFailedError, f"update {pending.name!r}")
    codec = update.result if isinstance(update, Update) else value_codec(Any)
    return codec.decode(client.envelope.open(done.payload or "null"))


async def _until_done(client: Client, run_id: str, pending: UpdateRow) -> UpdateRow:
    """Wait for the outcome of an update; it passes to the run that continues its own."""

    async def look() -> UpdateRow | None:
        nonlocal run_id
        run = await client.store.get_run_by_id(run_id)
        while run is not None and run.status is RunStatus.CONTINUED_AS_NEW:
            run = await client.store.successor(run.run_id)
        run_id = run.run_id if run is not None else run_id
        # read after the run: both may change together
        found = await client.store.get_update(pending.workflow_id, pending.update_id)
        if found is not None and found.state != "pending":
            return found
        return replace(pending, state="closed") if run is None or run.status.is_closed else None

    return await client.watch.until(look, lambda change: change.updates or closed(change, run_id))


async def _ended_first(client: Client, target: RunRow, pending: UpdateRow) -> DurableError:
    """Why an update has no outcome: its run ended before it looked, or while the handler was at work.

    Args:
        target: the run that it was sent to, or for a repeated one, the run that would take it now.
    """
    name, workflow_id = pending.name, pending.workflow_id
    row: RunRow | None = target
    while row is not None:
        status = row.status
        for event in await client.store.read_history(row.run_id):
            if event.kind == EventKind.UPDATE_ACCEPTED and event.details.get("update_id") == pending.update_id:
                return UpdateFailedError(f"update {name!r} was not done: {workflow_id!r} ended in the middle of it")
        row = await client.store.successor(row.run_id)
    return RunClosedError(
        f"{workflow_id!r} ended before it looked at update {name!r}; nothing of it was done", status=str(status)
    )
