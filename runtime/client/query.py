"""Queries, from the side of those who ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.codec import value_codec
from durable.duration import Duration, to_us
from durable.errors import QueryFailedError, QueryTimeoutError
from durable.messages import Query
from runtime.client.reply import rebuild_reply
from runtime.client.starting import encode_message
from runtime.client.waiting import in_time
from runtime.identifier import new_run_id
from runtime.store.row import QueryRow, RunRow

if TYPE_CHECKING:
    from runtime.client.client import Client


async def ask(client: Client, row: RunRow, query: Query[Any] | str, value: Any, timeout: Duration) -> Any:
    """Ask a run something and wait for the answer; ``RunHandle.query`` says what may be wrong."""
    name, payload = encode_message(query, value, client.envelope)
    expires_at_us = client.clock.now_us() + to_us(timeout, "timeout")
    asked = QueryRow(new_run_id(), row.run_id, row.workflow, name, payload, expires_at_us)
    await client.store.ask(asked)

    async def look() -> QueryRow | None:
        found = await client.store.get_query(asked.query_id)
        return found if found is not None and found.state != "pending" else None

    async def late() -> TimeoutError:
        return QueryTimeoutError(
            f"no worker answered query {name!r} of {row.workflow_id!r} within {timeout}; is one running that has "
            f"workflow {row.workflow!r}?"
        )

    answer = await in_time(client.watch.until(look, lambda change: change.queries), timeout, late)
    if answer.state == "failed":
        raise rebuild_reply(client, answer.reply or "null", QueryFailedError, f"query {name!r}")
    codec = query.result if isinstance(query, Query) else value_codec(Any)
    return codec.decode(client.envelope.open(answer.reply or "null"))
