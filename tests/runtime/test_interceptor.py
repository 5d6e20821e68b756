"""Interceptors: around the calls of clients, around workflows and around attempts of steps, the first one outermost."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from durable import Context, Signal, step, workflow
from durable.attempt import StepInfo
from durable.errors import RunFailedError
from durable.interceptor import ClientCall, Interceptor, Proceed, RunFailure
from runtime import Client, Runtime

pytestmark = pytest.mark.anyio

go = Signal("go", int)


@step
async def double(number: int) -> int:
    return 2 * number


@workflow
async def doubles(ctx: Context) -> int:
    return await ctx.step(double, await ctx.wait_signal(go))


class Tracer(Interceptor):
    """Writes down what passes, on the way in and on the way out."""

    def __init__(self, name: str, trace: list[str]) -> None:
        self.name = name
        self.trace = trace

    async def _around(self, what: str, proceed: Proceed) -> Any:
        self.trace.append(f"{self.name} begins {what}")
        try:
            return await proceed()
        finally:
            self.trace.append(f"{self.name} ends {what}")

    async def call_client(self, call: ClientCall, proceed: Proceed) -> Any:
        return await self._around(f"{call.operation} of {call.target} by {call.actor}", proceed)

    async def run_workflow(self, context: Context, proceed: Proceed) -> Any:
        return await self._around(f"workflow {context.info.workflow_id}", proceed)

    async def run_step(self, info: StepInfo, proceed: Proceed) -> Any:
        return await self._around(f"step {info.step}", proceed)


def around(trace: list[str], what: str) -> list[str]:
    """Where the lines of one call are, those of what it called left out."""
    return [line for line in trace if line.endswith(what)]


async def test_interceptors_stand_around_calls_workflows_and_steps(tmp_path):
    trace: list[str] = []
    tracers = [Tracer("outer", trace), Tracer("inner", trace)]
    async with Runtime(
        f"sqlite:///{tmp_path / 'd.db'}", workflows=[doubles], actor="user:alice", interceptors=tracers
    ) as rt:
        run = await rt.start(doubles.options(id="x"))
        await run.signal(go, 21)
        assert await run.result(timeout=30) == 42
    for what in (
        "start of doubles by user:alice", "signal of x by user:alice", "result of x by user:alice", "workflow x", "step double",
    ):  # fmt: skip
        assert around(trace, what) == [
            f"outer begins {what}", f"inner begins {what}", f"inner ends {what}", f"outer ends {what}",
        ], what  # fmt: skip
    begun, ended = trace.index("outer begins workflow x"), trace.index("outer ends workflow x")
    assert begun < trace.index("outer begins step double") < trace.index("outer ends step double") < ended


async def test_an_interceptor_that_overrides_nothing_changes_nothing(tmp_path):
    async with Runtime(
        f"sqlite:///{tmp_path / 'd.db'}", workflows=[doubles], interceptors=[Interceptor()], cache_size=0
    ) as rt:
        run = await rt.start(doubles)
        await run.signal(go, 21)
        assert await run.result(timeout=30) == 42


class Refuser(Interceptor):
    """Lets nobody signal, and answers for every step."""

    async def call_client(self, call: ClientCall, proceed: Proceed) -> Any:
        if call.operation == "signal":
            raise PermissionError(call.actor)
        return await proceed()

    async def run_step(self, info: StepInfo, proceed: Proceed) -> Any:
        return -1


async def test_an_interceptor_may_raise_or_answer_instead(tmp_path):
    url = f"sqlite:///{tmp_path / 'd.db'}"
    async with Runtime(url, workflows=[doubles], interceptors=[Refuser()]) as rt:
        run = await rt.start(doubles.options(id="x"))
        with pytest.raises(PermissionError):
            await run.signal(go, 21)
        async with Client(url) as client:  # has interceptors of its own: none
            await client.get("x").signal(go, 21)
        assert await run.result(timeout=30) == -1


@workflow
async def fails(ctx: Context) -> None:
    raise ValueError("broken")


@workflow
async def gets_stuck(ctx: Context) -> None:
    raise MemoryError


class Alarm(Interceptor):
    """Rings, and may break over it."""

    def __init__(self, rings: list[RunFailure], enough: anyio.Event, *, breaks: bool) -> None:
        self.rings = rings
        self.enough = enough
        self.breaks = breaks

    async def on_failed(self, failure: RunFailure) -> None:
        self.rings.append(failure)
        if len(self.rings) == 4:
            self.enough.set()
        if self.breaks:
            raise ConnectionError("nobody answers the pager")


async def test_failed_and_stuck_runs_ring_and_a_broken_alarm_keeps_no_other_from_ringing(tmp_path, caplog):
    rings: list[RunFailure] = []
    enough = anyio.Event()
    alarms = [Alarm(rings, enough, breaks=True), Alarm(rings, enough, breaks=False)]
    async with Runtime(
        f"sqlite:///{tmp_path / 'd.db'}", workflows=[fails, gets_stuck, doubles], interceptors=alarms
    ) as rt:
        run = await rt.start(fails.options(id="x"))
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        await rt.start(gets_stuck.options(id="y"))
        with anyio.fail_after(30):
            await enough.wait()
        well = await rt.start(doubles)
        await well.signal(go, 21)
        assert await well.result(timeout=30) == 42
    assert [(ring.workflow_id, ring.workflow, ring.status) for ring in rings] == [
        ("x", "fails", "failed"), ("x", "fails", "failed"), ("y", "gets_stuck", "stuck"), ("y", "gets_stuck", "stuck"),
    ]  # fmt: skip
    assert "broken" in rings[0].reason
    assert (rings[0].run_id, rings[0].rollback) == (run.run_id, "none")
    assert caplog.text.count("an interceptor's on_failed raised for run") == 2
