"""Updates, from the side of those who send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.codec import value_codec
from durable.duration import Duration
from durable.errors import UpdateFailedError, UpdateTimeoutError
from durable.handle import RunStatus
from durable.messages import Update
from runtime.client.reply import rebuild_reply
from runtime.client.starting import update_row
from runtime.client.waiting import closed, in_time
from runtime.identifier import new_run_id
from runtime.store.row import UpdateRow

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
        return UpdateTimeoutError(
            f"update {pending.name!r} is not done within {timeout}; it is not lost", update_id=chosen
        )

    done = await in_time(_until_done(client, target.run_id, pending), timeout, late)
    if done.state != "completed":
        record = done.payload or "null"
        plain = client.envelope.open(record) if done.state == "failed" else record
        raise rebuild_reply(client, plain, UpdateFailedError, f"update {pending.name!r}")
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
        if run is None or run.status.is_closed:
            raise UpdateFailedError(f"{pending.workflow_id!r} ended before update {pending.name!r} was done")
        return None

    return await client.watch.until(look, lambda change: change.updates or closed(change, run_id))
