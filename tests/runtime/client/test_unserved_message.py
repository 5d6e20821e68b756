"""Messages that nobody can take: told at once where it is certain, and with what to type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from durable import Context, Query, Signal, Update, workflow
from durable.errors import (
    EncodeError,
    MessageRejectedError,
    QueryTimeoutError,
    RunClosedError,
    UnknownMessageError,
    UpdateTimeoutError,
)
from runtime import Client, Runtime

pytestmark = pytest.mark.anyio

go = Signal("go", int)
add = Update("add", int, returns=int)
total = Query("total", int)
secret = Query("secret", str)


@workflow(messages=[go, add, total])
async def counter(ctx: Context) -> int:
    @ctx.on(total)
    def _() -> int:
        return 7

    @ctx.on(secret)
    def _() -> str:
        return "not published"

    return await ctx.wait_signal(go)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'durable.db'}"


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    """A client on a store where a worker was: ``ended`` has ended, ``open`` has not."""
    async with Runtime(url, workflows=[counter]) as runtime:
        await (await runtime.start(counter.options(id="open"))).until_waiting("signal", timeout=30)
        ended = await runtime.start(counter.options(id="ended"))
        await ended.signal(go, 1)
        await ended.result(timeout=30)
    async with Client(url) as client:
        yield client


@pytest.mark.parametrize("send", ["signal", "update", "query"])
@pytest.mark.parametrize("name", ["go", "add", "total"])
async def test_message_of_another_kind_is_refused_with_the_right_word(client: Client, send: str, name: str) -> None:
    kind = {"go": "signal", "add": "update", "total": "query"}[name]
    if send == kind:
        return
    call: Any = getattr(client.get("open"), send)
    with pytest.raises(
        UnknownMessageError, match=rf"'{name}' is an? {kind} .*: durable {kind} open {name}, or {kind}"
    ) as caught:
        await call(name, 1)
    assert caught.value.data["kind"] == kind
    assert await client.store.read_inbox((await client.get("open").row()).run_id) == []


async def test_signal_with_a_start_by_name_is_checked_as_well(client: Client) -> None:
    with pytest.raises(UnknownMessageError, match="an update"):
        await client.start(client.workflow("counter", id="new"), with_signal=("add", 1))
    with pytest.raises(MessageRejectedError, match="signal 'go'"):
        await client.start(client.workflow("counter", id="new"), with_signal=("go", "much"))
    assert await client.store.get_run("new") is None


async def test_query_of_an_ended_run_without_a_worker_is_refused_at_once(client: Client, url: str) -> None:
    with pytest.raises(
        RunClosedError, match=r"has ended .completed.*durable worker TARGET --store sqlite.*durable show"
    ):
        await client.get("ended").query(total, timeout=3600)
    async with Runtime(url, workflows=[counter]):
        assert await client.get("ended").query(total, timeout=30) == 7


async def test_unknown_query_without_a_worker_is_refused_at_once(client: Client, url: str) -> None:
    with pytest.raises(UnknownMessageError, match=r"no query 'nope' .published: total.*durable worker TARGET"):
        await client.get("open").query("nope", timeout=3600)
    async with Runtime(url, workflows=[counter]):
        assert await client.get("open").query("secret", timeout=30) == "not published"
        with pytest.raises(UnknownMessageError, match="known: secret, total"):
            await client.get("open").query("nope", timeout=30)


async def test_who_waited_in_vain_hears_how_to_start_a_worker(client: Client) -> None:
    with pytest.raises(
        QueryTimeoutError, match=r"no worker that has workflow 'counter' is running.*durable worker TARGET"
    ):
        await client.get("open").query(total, timeout=0.01)
    with pytest.raises(UpdateTimeoutError, match=r"not done twice: no worker .*durable worker TARGET"):
        await client.get("open").update(add, 1, timeout=0.01)


async def test_worker_that_is_there_but_slow_is_not_called_missing(url: str) -> None:
    async with Runtime(url, workflows=[counter], queues=["elsewhere"]) as runtime:
        run = await runtime.start(counter.options(id="early"))
        with pytest.raises(QueryTimeoutError, match="although a worker"):
            await run.query(total, timeout=0.01)


async def test_worker_that_comes_later_still_answers(client: Client, url: str) -> None:
    asking = asyncio.create_task(client.get("open").query(total, timeout=60))
    async with Runtime(url, workflows=[counter]):
        assert await asking == 7


async def test_client_that_is_older_than_the_worker_checks_against_what_it_published_last(
    client: Client, url: str
) -> None:
    with pytest.raises(UnknownMessageError, match="an update"):
        await client.get("open").signal("add", 1)
    with pytest.raises(EncodeError, match="takes 0 arguments"):
        await client.start("counter", 1)

    @workflow(name="counter", messages=[Signal("add", int)])
    async def newer(ctx: Context, start: int) -> None: ...

    async with Runtime(url, workflows=[newer], queues=["elsewhere"]):
        await client.get("open").signal("add", 1)
        await client.start("counter", 1)
