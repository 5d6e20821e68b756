"""The places where a scenario can run, with one face: the harness, and a worker on a store.

A drive uses a world for what moves time, and the handles of runs for what both kinds of handles share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from durable.duration import Duration
from durable.errors import RunCancelledError, RunFailedError, RunTerminatedError, RunTimeoutError
from durable.testing import WorkflowEnvironment, plain_history
from runtime.testing import RuntimeEnvironment

ENDINGS = (RunFailedError, RunCancelledError, RunTerminatedError, RunTimeoutError)


class HarnessWorld:
    """The harness."""

    def __init__(self, env: WorkflowEnvironment) -> None:
        self._env = env
        self.start = env.start
        self.get = env.get
        self.settle = env.until_idle
        self.advance = env.advance
        self.step = env.step

    async def crash(self) -> None:
        self._env.crash()

    async def finish(self, run: Any) -> Any:
        return await run.result()

    async def until_waiting(self, run: Any, what: str) -> None:
        await run.until_waiting(what)

    async def record(self) -> list[Any]:
        """What all runs left, in the order of their start."""
        return [
            {
                "run": run.workflow_id,
                "history": plain_history(one.history),
                "status": str(one.status),
                "rollback": str(one.rollback),
                "attributes": {key: value for key, value in one.attributes.items() if value is not None},
                "published": one.published,
                "streams": one.streams,
            }
            for run, one in zip(self._env.runs, self._env._host.runs.values(), strict=True)
        ]


class WorkerWorld:
    """A worker and a client on a store."""

    def __init__(self, env: RuntimeEnvironment) -> None:
        self._env = env
        self.start = env.start
        self.get = env.get
        self.settle = env.until_idle
        self.advance = env.advance
        self.finish = env.finish
        self.until_waiting = env.until_waiting
        self.crash = env.crash

    def step(self, token: str) -> Any:
        return self._env.client.step(token)

    async def record(self) -> list[Any]:
        await self._env.until_idle()
        client, store = self._env.client, self._env.client.store
        runs = [await store.get_run_by_id(summary.run_id) async for summary in client.list()]
        return [
            {
                "run": row.workflow_id,
                "history": plain_history(await store.read_history(row.run_id)),
                "status": str(row.status),
                "rollback": str(row.rollback),
                "attributes": await store.read_attributes(row.run_id),
                "published": await store.read_published(row.run_id),
                "streams": await _streams(store, row.run_id),
            }
            for row in reversed(runs)
            if row is not None
        ]


async def _streams(store: Any, run_id: str) -> dict[str, list[str]]:
    items = {name: await store.read_stream(run_id, name, 0, 1000) for name in ("items",)}
    return {name: [item.payload for item in found] for name, found in items.items() if found}


World = HarnessWorld | WorkerWorld


@asynccontextmanager
async def harness(_: tuple[Any, ...]) -> AsyncIterator[World]:
    async with WorkflowEnvironment(allow=True) as env:
        yield HarnessWorld(env)


@asynccontextmanager
async def replaying_harness(_: tuple[Any, ...]) -> AsyncIterator[World]:
    async with WorkflowEnvironment(allow=True) as env:
        env.replay_every_turn = True
        yield HarnessWorld(env)


@asynccontextmanager
async def sqlite(workflows: tuple[Any, ...]) -> AsyncIterator[World]:
    async with RuntimeEnvironment() as env:
        await env.serve(*workflows)
        yield WorkerWorld(env)


@asynccontextmanager
async def evicting_sqlite(workflows: tuple[Any, ...]) -> AsyncIterator[World]:
    async with RuntimeEnvironment() as env:
        await env.serve(*workflows, cache_size=0)
        yield WorkerWorld(env)


WORLDS: dict[str, Callable[[tuple[Any, ...]], AbstractAsyncContextManager[World]]] = {
    "harness": harness,
    "harness, replaying every turn": replaying_harness,
    "sqlite": sqlite,
    "sqlite, evicting after every turn": evicting_sqlite,
}
"""Another store is one more entry."""


async def outcome(world: World, run: Any) -> Any:
    """How a run ends: its result, or its error."""
    try:
        return await world.finish(run)
    except ENDINGS as error:
        cause = error.__cause__
        return f"{type(error).__name__}: {type(cause).__name__}: {cause}" if cause is not None else str(error)


async def pass_time(world: World, *seconds: Duration) -> None:
    """Let time pass in pieces, with everything settled in between."""
    for piece in seconds:
        await world.settle()
        await world.advance(piece)
