"""The blocking client: the methods of the async one, for code that is not async."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from durable import CompleteLater, Context, Signal, step, step_info, workflow
from durable.errors import ConfigurationError, RunNotFoundError
from runtime import Runtime
from runtime.sync import Client

pytestmark = pytest.mark.anyio

go = Signal("go", int)
tokens: list[str] = []


@step
async def somebody_else() -> int:
    tokens.append(step_info().token)
    raise CompleteLater


@workflow
async def adds(ctx: Context) -> int:
    ctx.stream("words").write("one")
    ctx.stream("words").write("two")
    return await ctx.wait_signal(go) + await ctx.step(somebody_else)


def converse(url: str) -> None:
    """What a program without a loop would do."""
    with Client(url, actor="user:alice") as client:
        assert client.actor == "user:alice"
        run = client.start("adds")
        assert run.workflow_id in repr(run)
        run.until_waiting("go", timeout=30)
        assert [summary.workflow_id for summary in client.list()] == [run.workflow_id]
        run.signal(go, 40)
        run.until_waiting("somebody_else", timeout=30)
        client.step(tokens.pop()).complete(2)
        assert run.result(timeout=30) == 42
        assert list(run.stream("words")) == ["one", "two"]
        with pytest.raises(RunNotFoundError):
            client.get("nobody").describe()
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: client.get(run.workflow_id).result(), range(8))) == {42}


async def test_the_blocking_client_does_what_the_async_one_does(tmp_path):
    import anyio.to_thread

    url = f"sqlite:///{tmp_path / 'd.db'}"
    async with Runtime(url, workflows=[adds]):
        await anyio.to_thread.run_sync(converse, url)


def test_a_client_that_cannot_be_opened_leaves_no_thread_behind():
    import threading

    before = threading.active_count()
    with pytest.raises(ConfigurationError), Client("nonsense://"):
        pass
    assert threading.active_count() == before
