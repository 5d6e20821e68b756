"""Random workflow code: a program is a tree, and one workflow runs whatever tree it is given.

A node is a list: its kind, then its parameters. It is JSON, so it is the workflow's input and goes into history. What
the code sees, in order, is its trace: two executions of one history must see the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from hypothesis import strategies as st

from durable import Context, Query, Signal, Update, step, workflow
from durable.errors import ConditionTimeoutError, QuestionTimeoutError, SignalTimeoutError

Node = list[Any]

go = Signal("go", int)
tick = Signal("tick", int)
bump = Update("bump", int, returns=int)
seen = Query("seen", list[Any])


@step
async def work(label: int) -> int:
    """Its outcome is the world's to choose."""
    raise NotImplementedError


@step
async def undo(result: int) -> None:
    """The compensation of ``undoable``."""
    raise NotImplementedError


@step(compensate=undo)
async def undoable(label: int) -> int:
    """A step that is undone on rollback."""
    raise NotImplementedError


@workflow
async def child(ctx: Context, label: int) -> int:
    """Never run: the world says how children end."""
    raise NotImplementedError


@dataclass
class Scene:
    """What one execution of a program knows.

    Attributes:
        trace: what it saw, in order.
        ticks: signals that the handler counted.
    """

    ctx: Context
    trace: list[Any] = field(default_factory=list)
    ticks: int = 0

    def see(self, *what: Any) -> None:
        """Add to the trace, with the time at which it was seen."""
        self.trace.append([*what, self.ctx.now().timestamp()])


scenes: dict[int, Scene] = {}
"""By the id of the context, for those who look on from outside."""


def describe(error: BaseException) -> Any:
    """An exception, with the leaves of groups, without addresses."""
    if isinstance(error, BaseExceptionGroup):
        return [type(error).__name__, [describe(leaf) for leaf in error.exceptions]]
    return [type(error).__name__, str(error)]


@workflow(messages=[go, tick, bump, seen])
async def interpret(ctx: Context, program: Node) -> list[Any]:
    """Run a program; its result is what it saw."""
    scene = scenes[id(ctx)] = Scene(ctx)

    @ctx.on(tick)
    async def ticked(value: int) -> None:
        scene.ticks += 1
        scene.see("tick", value)
        if value < 0:
            await ctx.sleep(1)
            scene.see("tick slept", value)

    @ctx.on(bump)
    async def bumped(value: int) -> int:
        scene.see("bump", value)
        return value + await ctx.step(work, value)

    @bumped.validator
    def check(value: int) -> None:
        if value < scene.ticks:
            raise ValueError("too small")

    @ctx.on(seen)
    def look() -> list[Any]:
        return scene.trace

    try:
        await run(scene, program)
    except BaseException as error:
        scene.see("left with", describe(error))
        raise
    scene.see("returned")
    return scene.trace


async def run(scene: Scene, node: Node) -> Any:
    """Run one node."""
    return await _KINDS[node[0]](scene, *node[1:])


# -- leaves -------------------------------------------------------------------------------------------------


async def _step(scene: Scene, label: int) -> int:
    value = await scene.ctx.step(work, label)
    scene.see("step", label, value)
    return value


async def _undoable(scene: Scene, label: int) -> int:
    value = await scene.ctx.step(undoable, label)
    scene.see("undoable", label, value)
    return value


async def _sleep(scene: Scene, how: str, seconds: int) -> None:
    sleep: Callable[[int], Coroutine[Any, Any, None]] = {
        "ctx": scene.ctx.sleep, "asyncio": asyncio.sleep, "anyio": anyio.sleep,
    }[how]  # fmt: skip
    await sleep(seconds)
    scene.see("slept", seconds, asyncio.get_running_loop().time())


async def _signal(scene: Scene, timeout: int | None) -> None:
    try:
        scene.see("signal", await scene.ctx.wait_signal(go, timeout=timeout))
    except SignalTimeoutError:
        scene.see("no signal")


async def _condition(scene: Scene, ticks: int, timeout: int | None) -> None:
    try:
        await scene.ctx.wait_condition(lambda: scene.ticks >= ticks, timeout=timeout)
        scene.see("condition", scene.ticks)
    except ConditionTimeoutError:
        scene.see("no condition")


async def _child(scene: Scene, label: int) -> None:
    scene.see("child", await scene.ctx.child_workflow(child, label))


async def _external(scene: Scene, label: int) -> None:
    await scene.ctx.workflow(f"other-{label}").signal(go, label)
    scene.see("delivered", label)


async def _ask(scene: Scene, timeout: int | None) -> None:
    try:
        scene.see("answer", await scene.ctx.ask_user("How many?", int, timeout=timeout))
    except QuestionTimeoutError:
        scene.see("no answer")


async def _publish(scene: Scene, value: int) -> None:
    scene.ctx.publish("value", value)
    scene.ctx.stream("values").write(value)
    scene.ctx.set_attributes(value=value)


async def _random(scene: Scene) -> None:
    scene.see("random", scene.ctx.random.random(), str(scene.ctx.uuid4()))


async def _patch(scene: Scene, number: int) -> None:
    scene.see("patched", scene.ctx.patched(f"patch-{number}"))


async def _compensate(scene: Scene, label: int) -> None:
    scene.ctx.compensate(work, label)


async def _rollback(scene: Scene) -> None:
    await scene.ctx.rollback()
    scene.see("rolled back")


async def _pass(scene: Scene) -> None:
    await asyncio.sleep(0)


async def _fail(scene: Scene, label: int) -> None:
    raise ValueError(label)


async def _again(scene: Scene) -> None:
    scene.ctx.continue_as_new(["pass"])


# -- what is made of others -----------------------------------------------------------------------------------


async def _sequence(scene: Scene, *nodes: Node) -> None:
    for node in nodes:
        await run(scene, node)


async def _gather(scene: Scene, *nodes: Node) -> None:
    results = await asyncio.gather(*(run(scene, node) for node in nodes), return_exceptions=True)
    scene.see("gathered", [describe(item) if isinstance(item, BaseException) else item for item in results])


async def _group(scene: Scene, *nodes: Node) -> None:
    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(run(scene, node))


async def _anyio_group(scene: Scene, *nodes: Node) -> None:
    async with anyio.create_task_group() as group:
        for node in nodes:
            group.start_soon(run, scene, node)


async def _race(scene: Scene, *nodes: Node) -> None:
    """The order in which sets of tasks are walked is part of the behaviour (L3)."""
    tasks = {asyncio.create_task(run(scene, node)): number for number, node in enumerate(nodes)}
    try:
        done, pending = await asyncio.wait(set(tasks), return_when=asyncio.FIRST_COMPLETED)
        scene.see("race", [tasks[task] for task in done], [tasks[task] for task in pending])
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    scene.see("raced", [describe(item) if isinstance(item, BaseException) else item for item in results])


async def _completed(scene: Scene, *nodes: Node) -> None:
    for each in asyncio.as_completed([run(scene, node) for node in nodes]):
        try:
            scene.see("completed", await each)
        except Exception as error:
            scene.see("completed with", describe(error))


async def _timeout(scene: Scene, how: str, seconds: int, node: Node) -> None:
    try:
        if how == "asyncio":
            async with asyncio.timeout(seconds):
                await run(scene, node)
        elif how == "wait_for":
            await asyncio.wait_for(run(scene, node), seconds)
        else:
            with anyio.fail_after(seconds):
                await run(scene, node)
    except TimeoutError:
        scene.see("timed out", seconds)


async def _shield(scene: Scene, node: Node) -> None:
    with anyio.CancelScope(shield=True):
        await run(scene, node)


async def _try(scene: Scene, node: Node, handler: Node) -> None:
    try:
        await run(scene, node)
    except Exception as error:
        scene.see("caught", describe(error))
        await run(scene, handler)


async def _finally(scene: Scene, node: Node, cleanup: Node) -> None:
    try:
        await run(scene, node)
    finally:
        scene.see("finally")
        await run(scene, cleanup)


async def _swallow(scene: Scene, node: Node) -> None:
    with suppress(asyncio.CancelledError):
        await run(scene, node)


async def _spawn(scene: Scene, node: Node) -> None:
    """A task that nobody waits for."""
    task = asyncio.create_task(run(scene, node))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


async def _saga(scene: Scene, node: Node) -> None:
    async with scene.ctx.saga():
        await run(scene, node)


_KINDS: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    "step": _step, "undoable": _undoable, "sleep": _sleep, "signal": _signal, "condition": _condition, "child": _child,
    "external": _external, "ask": _ask, "publish": _publish, "random": _random, "patch": _patch,
    "compensate": _compensate, "rollback": _rollback, "pass": _pass, "fail": _fail, "again": _again,
    "sequence": _sequence, "gather": _gather, "group": _group, "anyio group": _anyio_group, "race": _race,
    "completed": _completed, "timeout": _timeout, "shield": _shield, "try": _try, "finally": _finally,
    "swallow": _swallow, "spawn": _spawn, "saga": _saga,
}  # fmt: skip


# -- strategies -----------------------------------------------------------------------------------------------

_NUMBERS = st.integers(0, 3)
_SECONDS = st.integers(1, 3)
_LIMITS = st.none() | _SECONDS


def _node(kind: str, *parameters: st.SearchStrategy[Any]) -> st.SearchStrategy[Node]:
    return st.tuples(st.just(kind), *parameters).map(list)


_LEAVES = st.one_of(
    _node("step", _NUMBERS),
    _node("step", _NUMBERS),
    _node("undoable", _NUMBERS),
    _node("sleep", st.sampled_from(["ctx", "asyncio", "anyio"]), _SECONDS),
    _node("signal", _LIMITS),
    _node("condition", st.integers(0, 2), _LIMITS),
    _node("child", _NUMBERS),
    _node("external", _NUMBERS),
    _node("ask", _LIMITS),
    _node("publish", _NUMBERS),
    _node("random"),
    _node("patch", _NUMBERS),
    _node("compensate", _NUMBERS),
    _node("rollback"),
    _node("pass"),
    _node("fail", _NUMBERS),
)


def _grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(inner, min_size=1, max_size=4)
    many = st.sampled_from(["sequence", "gather", "group", "anyio group", "race", "completed"])
    one = st.sampled_from(["shield", "swallow", "spawn", "saga"])
    two = st.sampled_from(["try", "finally"])
    return st.one_of(
        st.builds(lambda kind, nodes: [kind, *nodes], many, several),
        st.builds(lambda kind, nodes: [kind, *nodes], st.just("sequence"), several),
        st.builds(lambda kind, node: [kind, node], one, inner),
        st.builds(lambda kind, node, other: [kind, node, other], two, inner, inner),
        _node("timeout", st.sampled_from(["asyncio", "wait_for", "anyio"]), _SECONDS, inner),
    )


_BODIES = st.lists(st.recursive(_LEAVES, _grow, max_leaves=12), min_size=2, max_size=4)


@st.composite
def programs(draw: st.DrawFn) -> Node:
    """A program; some go on as a new run at their end, or in a task that nobody waits for."""
    nodes = draw(_BODIES)
    again = draw(st.sampled_from([[], [], [], [["again"]], [["spawn", ["again"]], ["sleep", "ctx", 3]]]))
    return ["sequence", *nodes, *again]
