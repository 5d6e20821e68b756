"""Between any two calls of a worker to its store another one acts: the run ends as if that had come at another time.

Each case is one run that has most of what a worker does for it, taken up from a worker that was cut off. At one call of one
method, before it or after it, one thing is done to the run or to its worker.
"""

from __future__ import annotations

import asyncio
import operator
import sqlite3
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from durable import Context, Query, Signal, heartbeat, step, step_info, workflow
from durable.errors import RunClosedError, RunError
from durable.history import EventKind, verify_chain
from runtime import Client, Worker
from runtime.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

go, extra, progress = Signal("go", int), Signal("extra", int), Query("progress", int)
calls: Counter[str] = Counter()
begun: asyncio.Event
may_end: asyncio.Event


@step
async def left() -> str:
    """Cut off in the first worker."""
    calls["left"] += 1
    if calls["left"] == 1:
        begun.set()
        await asyncio.Event().wait()
    heartbeat("left")
    return "left"


@step(queue="elsewhere")
async def routed() -> str:
    await may_end.wait()
    calls["routed"] += 1
    return "routed"


@step(delivery="at_most_once")
async def once() -> str:
    calls["once"] += 1
    return "once"


@step(transactional=True)
def booked() -> str:
    connection = step_info().connection
    connection.execute("CREATE TABLE IF NOT EXISTS booked (key TEXT)")
    connection.execute("INSERT INTO booked VALUES (?)", (step_info().idempotency_key,))
    return "booked"


@workflow
async def part(ctx: Context) -> str:
    return await ctx.step(routed)


@workflow
async def instead(ctx: Context) -> None:
    """Takes the place of a run, and does nothing that is counted."""


@workflow(messages=[go, extra, progress])
async def whole(ctx: Context) -> list[Any]:
    done: list[Any] = []

    @ctx.on(progress)
    def _progress() -> int:
        return len(done)

    done += await asyncio.gather(ctx.step(left), ctx.step(routed))
    done.append(await ctx.step(once))
    done.append(await ctx.step(booked))
    done.append(await ctx.child_workflow(part))
    await ctx.sleep(0.001)
    done.append(await ctx.wait_signal(go))
    return done


METHODS = [
    "claim", "claim_tasks", "heartbeat", "join", "next_ready_at", "next_task_at", "pending_queries",
    "publish_definitions", "read_attempts", "read_blobs", "read_heartbeat", "read_history", "read_inbox", "read_tasks",
    "take_over", "transaction", "unstick",
]  # fmt: skip
ENDS = {"terminate": "RunTerminatedError", "replace": "RunTerminatedError", "cancel": "RunCancelledError"}
ACTIONS = [*ENDS, "pause", "signal", "query", "purge", "lapse", "steal", "outcome"]
POINTS = [*((method, 1) for method in METHODS), *(("commit", nth) for nth in (1, 4, 7))]
WITHOUT_ROUTED = [("transaction", 1), ("commit", 4), ("commit", 7)]
RESULT = ["left", "routed", "once", "booked", "routed", 1]


class Interposed:
    """A store between two calls of which something else happens, once."""

    def __init__(
        self, store: SqliteStore, method: str, nth: int, before: bool, act: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._method, self._nth, self._before, self._act = method, nth, before, act
        self._commits: deque[Callable[[], None]] = deque()
        self._acting = False
        self.seen: Counter[str] = Counter()
        self.is_reached = False
        self.acted = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(found) or name in ("open", "close"):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            is_it = self._is_it(name)
            if is_it and self._before:
                await self._do()
            result = await found(*args, **kwargs)
            if is_it and not self._before:
                await self._do()
            return result

        return call

    def _is_it(self, name: str) -> bool:
        self.seen[name] += 1
        return name == self._method and self.seen[name] == self._nth

    async def _do(self) -> None:
        self.is_reached = True
        await self._act()
        self.acted.set()

    def commit(self, turns: Sequence[Any], done: Callable[[Any], None]) -> None:
        is_it = self._is_it("commit")
        if self._acting:
            self._commits.append(lambda: self._store.commit(turns, done))
        elif not is_it:
            self._store.commit(turns, done)
        elif self._before:
            self._acting = True
            asyncio.ensure_future(self._late(lambda: self._store.commit(turns, done)))
        else:
            self._acting = True
            self._store.commit(turns, lambda outcomes: _later(self._late(lambda: done(outcomes))))

    async def _late(self, then: Callable[[], None]) -> None:
        await self._do()
        self._acting = False
        then()
        while self._commits:
            self._commits.popleft()()

    @asynccontextmanager
    async def transaction(self, *args: Any, **kwargs: Any) -> Any:
        is_it = self._is_it("transaction")
        if is_it and self._before:
            await self._do()
        async with self._store.transaction(*args, **kwargs) as transaction:
            yield transaction
        if is_it and not self._before:
            await self._do()


def _later(work: Any) -> None:
    asyncio.ensure_future(work)


@dataclass
class Played:
    """What came of a run, and of what was done to it."""

    outcome: Any = None
    booked: int = 0


async def act_on(client: Client, run: Any, worker: Worker, action: str, asking: list[asyncio.Future[Any]]) -> None:
    """Do one thing, if the run is still there for it."""
    lease: Any = worker.engine.lease if worker.engine is not None else None
    with suppress(RunClosedError):
        match action:
            case "terminate":
                await run.terminate("act")
            case "replace":
                await client.start(instead.options(id="w", on_conflict="replace"))
            case "cancel":
                await run.cancel("act")
            case "pause":
                await run.pause()
            case "signal":
                await run.signal(extra, 2)
            case "query":
                asking.append(asyncio.ensure_future(run.query(progress, timeout=30)))
            case "outcome":
                may_end.set()
                await client.watch.until(lambda: has_outcome(client, run.run_id), lambda change: True)
            case "purge":
                await client.store.purge(2**60, 100)
            case "lapse" | "steal" if lease is not None:
                lease._has_lapsed = True
                if action == "steal":
                    await client.store.take_over(client.clock.now_us())


async def has_outcome(client: Client, run_id: str) -> bool | None:
    """Whether the outcome of a routed step has come."""
    facts = [row.fact for row in await client.store.read_inbox(run_id)]
    events = await client.store.read_history(run_id)
    return any(one.kind == EventKind.STEP_COMPLETED and one.name == "routed" for one in (*facts, *events)) or None


async def until_resumed(run: Any, acted: asyncio.Event) -> None:
    """Resume the run once it was paused, or has ended before that."""
    ended, done = asyncio.ensure_future(run.result(timeout=30)), asyncio.ensure_future(acted.wait())
    await asyncio.wait((ended, done), return_when=asyncio.FIRST_COMPLETED)
    with suppress(RunClosedError):
        await run.resume()
    for one in (ended, done):
        one.cancel()
    await asyncio.gather(ended, done, return_exceptions=True)


async def play(path: Path, method: str, nth: int, *, before: bool, action: str, cache_size: int) -> Played:
    """Run ``whole`` to its end, and do ``action`` at the nth call of ``method``."""
    global begun, may_end
    calls.clear()
    begun, may_end = asyncio.Event(), asyncio.Event()
    if action != "outcome":
        may_end.set()
    played = Played()
    asking: list[asyncio.Future[Any]] = []
    url = f"sqlite:///{path}"
    options: dict[str, Any] = {"workflows": [whole, part, instead], "cache_size": cache_size, "grace_seconds": 0}
    store = SqliteStore(path)
    elsewhere = Worker(url, steps=[routed], queues=["elsewhere"])
    async with Client(url) as client, elsewhere:
        run = await client.start(whole.options(id="w"))
        async with Worker(url, **options):
            await begun.wait()
        interposed = Interposed(store, method, nth, before, lambda: act_on(client, run, worker, action, asking))
        worker = Worker(interposed, lease_seconds=1.0, **options)  # type: ignore[arg-type]
        async with worker:
            with suppress(RunClosedError):
                await run.signal(go, 1)
            if action == "pause":
                await until_resumed(run, interposed.acted)
            try:
                played.outcome = await run.result(timeout=30)
            except RunError as error:
                played.outcome = type(error).__name__, type(error.__cause__).__name__
            await asyncio.gather(*asking)
            verify_chain(await run.history())
    await store.close()
    assert interposed.is_reached  # who ended the run may be told so after those who wait for that
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
        played.booked = len(connection.execute("SELECT key FROM booked").fetchall())
    return played


@pytest.fixture
async def faults() -> AsyncIterator[list[Any]]:
    """What went wrong where nobody waits for it."""
    loop, found = asyncio.get_running_loop(), []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: found.append(context))
    yield found
    loop.set_exception_handler(before)


@pytest.mark.parametrize(
    ("method", "nth", "action"),
    [
        (*point, action)
        for point in POINTS
        for action in ACTIONS
        if action != "outcome" or point not in WITHOUT_ROUTED  # which come after it
    ],
)
async def test_what_another_does_between_two_calls_is_as_if_done_at_another_time(
    tmp_path: Path, faults: list[Any], method: str, nth: int, action: str
) -> None:
    """Semantics 43, 44: the run ends, its history holds together, and nothing is done more often than it may be."""
    case = POINTS.index((method, nth)) + ACTIONS.index(action)  # half of the cases each way
    before, cache_size = case % 2 == 0, 1000 if case % 4 < 2 else 0
    played = await play(tmp_path / "durable.db", method, nth, before=before, action=action, cache_size=cache_size)
    ends = [RESULT]
    if action in ENDS:
        ends.append((ENDS[action], "NoneType"))
    elif action in ("lapse", "steal"):
        ends.append(("RunFailedError", "StepInDoubtError"))
    assert played.outcome in ends
    is_whole = played.outcome == RESULT
    done = calls["once"], played.booked, calls["routed"]
    assert done == (1, 1, 2) if is_whole else all(map(operator.le, done, (1, 1, 2))), done
    assert faults == []
