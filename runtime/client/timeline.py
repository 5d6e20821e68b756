"""The timeline of a run, from its store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from durable.errors import ConfigurationError
from durable.timeline.timeline import HIDDEN, Opener, Timeline
from runtime.store.row import RunRow

if TYPE_CHECKING:
    from runtime.client.client import Client


def value_opener(
    client: Client, blobs: Mapping[str, bytes], *, reveal: bool = False, problems: list[str] | None = None
) -> Opener:
    """What makes plain JSON of a run's payloads for people; encrypted ones stay hidden unless they are revealed.

    Args:
        problems: takes the reasons why values stay hidden that should be revealed.
    """
    envelope = client.envelope

    def open_value(payload: str) -> str:
        if not reveal and envelope.hides(payload):
            return HIDDEN
        try:
            return envelope.open(payload, blobs)
        except ConfigurationError as error:
            if reveal and problems is not None and error.message not in problems:
                problems.append(error.message)
            return HIDDEN

    return open_value


async def read_timeline(
    client: Client, row: RunRow, *, reveal: bool = False, problems: list[str] | None = None
) -> Timeline:
    """The whole timeline of a run.

    Args:
        reveal: show values that are stored encrypted as well, as far as their codecs are configured.
        problems: takes the reasons why they are not.
    """
    store = client.store
    history = await store.read_history(row.run_id)
    timeline = Timeline(value_opener(client, await store.read_blobs(row.run_id), reveal=reveal, problems=problems))
    timeline.feed(history)
    timeline.feed_attempts(await store.read_attempts(row.run_id))
    return timeline
