"""Queries, from the side of those who ask."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from durable.cause import rebuild_reply
from durable.codec import value_codec
from durable.duration import Duration, to_us
from durable.errors import QueryFailedError, QueryTimeoutError, RunClosedError, UnknownMessageError
from durable.messages import Query, encode_message
from runtime.client.presence import how_to_serve, is_served
from runtime.client.waiting import in_time, in_words
from runtime.identifier import new_run_id
from runtime.store.row import QueryRow, RunRow

if TYPE_CHECKING:
    from runtime.client.client import Client


async def ask(client: Client, row: RunRow, query: Query[Any] | str, value: Any, timeout: Duration) -> Any:
    """Ask a run something and wait for the answer; ``RunHandle.query`` says what may be wrong."""
    name, payload = encode_message(query, value, client.envelope)
    await _check(client, row, query, name, value)
    expires_at_us = client.clock.now_us() + to_us(timeout, "timeout")
    asked = QueryRow(new_run_id(), row.run_id, row.workflow, name, payload, expires_at_us)
    await client.store.ask(asked)

    async def look() -> QueryRow | None:
        found = await client.store.get_query(asked.query_id)
        return found if found is not None and found.state != "pending" else None

    async def late() -> TimeoutError:
        if await is_served(client, row.workflow):
            return QueryTimeoutError(
                f"no answer to query {name!r} of {row.workflow_id!r} within {in_words(timeout)}, although a worker that has workflow "
                f"{row.workflow!r} is running: it is busy, or the run has not had its first turn"
            )
        return QueryTimeoutError(
            f"nobody answered query {name!r} of {row.workflow_id!r}: {how_to_serve(client, row.workflow)}"
        )

    answer = await in_time(client.watch.until(look, lambda change: change.queries), timeout, late)
    if answer.state == "failed":
        raise rebuild_reply(client.modules, answer.reply or "null", QueryFailedError, f"query {name!r}")
    codec = query.result if isinstance(query, Query) else value_codec(Any)
    return codec.decode(client.envelope.open(answer.reply or "null"))


async def _check(client: Client, row: RunRow, query: Query[Any] | str, name: str, value: Any) -> None:
    """Refuse at once what nobody will answer, rather than wait for it.

    A worker that has the workflow answers also for runs that have ended, and knows handlers that were not published.
    """
    await client.check_message(row.workflow_id, "query", query, value)
    messages = (await client.published(row.workflow)).get("messages", {})
    is_unknown = bool(messages) and name not in messages
    if not (is_unknown or row.status.is_closed) or await is_served(client, row.workflow):
        return
    if is_unknown:
        known = ", ".join(sorted(other for other, entry in messages.items() if entry.get("kind") == "query")) or "none"
        raise UnknownMessageError(
            f"workflow {row.workflow!r} publishes no query {name!r} (published: {known}); for one that it does not "
            f"publish: {how_to_serve(client, row.workflow)}",
            name=name,
        )
    raise RunClosedError(
        f"{row.workflow_id!r} has ended ({row.status}), and its code must answer query {name!r}: {how_to_serve(client, row.workflow)}; "
        f"what is recorded: {shlex.join(['durable', 'show', row.workflow_id])}",
        status=str(row.status),
    )
