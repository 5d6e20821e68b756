"""The blocking client: the methods of the async one, for code that is not async."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import runtime
from durable import CompleteLater, Context, Signal, step, step_info, workflow
from durable.errors import CallerError, ConfigurationError, RunNotFoundError
from runtime import Runtime, Worker, sync
from runtime.runtime import WorkerOptions
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
    ctx.publish("sum", {"of": 2})
    return await ctx.wait_signal(go) + await ctx.step(somebody_else)


def converse(url: str) -> None:
    """What a program without a loop would do."""
    with Client(url, actor="user:alice") as client:
        assert client.actor == "user:alice"
        run = client.start("adds")
        assert run.workflow_id in repr(run)
        run.until_waiting("go", timeout=30)
        assert [summary.workflow_id for summary in client.list()] == [run.workflow_id]
        assert client.count(status="waiting") == 1
        with pytest.raises(CallerError, match=r"one of pending, running.*, got 'asleep'"):
            list(client.list(status="asleep"))
        run.signal(go, 40)
        run.until_waiting("somebody_else", timeout=30)
        client.step(tokens.pop()).complete(2)
        assert run.result(timeout=30) == 42
        assert list(run.stream("words")) == ["one", "two"]
        assert run.published("sum") == {"of": 2}
        with pytest.raises(KeyError):
            run.published("nothing")
        with pytest.raises(RunNotFoundError):
            client.get("nobody").describe()
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: client.get(run.workflow_id).result(), range(8))) == {42}


def shape(method: Any) -> list[tuple[str, Any, Any]]:
    return [(one.name, one.kind, one.default) for one in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize(
    ("blocking", "waited_for", "inner"),
    [
        (sync.Client, runtime.Client, {"open", "close", "started", "published", "forget_published", "check_message"}),
        (sync.RunHandle, runtime.RunHandle, set()),
        (sync.StepHandle, runtime.StepHandle, set()),
    ],
)
def test_methods_and_arguments_are_those_of_the_async_client(blocking, waited_for, inner):
    wanted = {name for name, value in vars(waited_for).items() if callable(value) and not name.startswith("_")} - inner
    assert wanted <= set(dir(blocking))
    for name in wanted:
        assert shape(getattr(blocking, name)) == shape(getattr(waited_for, name)), name
        assert getattr(blocking, name).__doc__, name


def test_a_client_takes_the_arguments_of_the_async_one():
    assert shape(sync.Client) == shape(runtime.Client)


def test_a_client_that_is_not_open_says_how_to_open_it():
    with pytest.raises(ConfigurationError, match=r"with Client\("):
        Client("memory://").get("x")


def test_a_runtime_hands_on_every_argument_that_a_worker_has():
    own = set(inspect.signature(Runtime).parameters) - {"worker_options", "actor"}
    assert own | set(WorkerOptions.__annotations__) == set(inspect.signature(Worker).parameters)


async def test_the_blocking_client_does_what_the_async_one_does(tmp_path):
    import anyio.to_thread

    url = f"sqlite:///{tmp_path / 'd.db'}"
    async with Runtime(url, workflows=[adds]):
        await anyio.to_thread.run_sync(converse, url)


def test_a_client_that_cannot_be_opened_leaves_no_thread_behind():
    import threading

    before = set(threading.enumerate())
    with pytest.raises(ConfigurationError), Client("nonsense://"):
        pass
    assert set(threading.enumerate()) <= before  # those of other tests may end meanwhile
