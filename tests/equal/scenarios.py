"""What the world does to a run of each workflow, the same in every world.

Transactional steps are left out: the harness has no database, and only takes them stubbed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from durable.errors import DurableError
from durable.workflow import WorkflowDefinition
from equal import families, flows
from equal.world import World, outcome

Drive = Callable[[World, Any], Awaitable[Any]]


@dataclass(frozen=True)
class Scenario:
    """A workflow, its arguments, and what is done to its run."""

    definition: WorkflowDefinition[..., Any]
    arguments: tuple[Any, ...]
    drive: Drive


SCENARIOS: dict[str, Scenario] = {}

WORKFLOWS = tuple(
    value for module in (flows, families) for value in vars(module).values() if isinstance(value, WorkflowDefinition)
)


def scenario(definition: WorkflowDefinition[..., Any], *arguments: Any) -> Callable[[Drive], Drive]:
    """Declare what is done to a run of a workflow."""

    def declare(drive: Drive) -> Drive:
        name = drive.__name__ if drive is not outcome else definition.name
        SCENARIOS[name] = Scenario(definition, arguments, drive)
        return drive

    return declare


for plain in (
    flows.retries, flows.retry_after, flows.step_total_timeout, flows.at_most_once, flows.gathered, flows.task_group,
    flows.failing_group, flows.nested_scopes, flows.first_completed, flows.as_completed, flows.detached,
    flows.left_generator, flows.timers, flows.timeout_around_a_step, flows.run_timeout, flows.condition_in_vain,
    flows.everything_else, flows.handed_over_for_too_long,
    families.children, families.failing_child, families.unhandled_child_failure, families.cancelled_child,
    families.taken_id, families.waits_for_a_successor, families.rolled_back, families.rollback_fails, families.caught,
):  # fmt: skip
    scenario(plain)(outcome)
scenario(flows.sequential, 5)(outcome)
scenario(families.countdown, 3)(outcome)


async def refused(doing: Awaitable[Any]) -> str:
    """The error of a call; its words name ids."""
    try:
        return str(await doing)
    except DurableError as error:
        return type(error).__name__


async def pass_limits(world: World, run: Any, *seconds: float) -> Any:
    """Let time pass while a step runs, which nobody else ends."""
    for piece in seconds:
        await world.advance(piece)
    return await outcome(world, run)


@scenario(flows.step_timeout)
async def step_timeout(world: World, run: Any) -> Any:
    return await pass_limits(world, run, 30, 5, 30)


@scenario(flows.heartbeats)
async def heartbeats(world: World, run: Any) -> Any:
    return await pass_limits(world, run, 9, 1)


@scenario(flows.handed_over)
async def handed_over(world: World, run: Any) -> Any:
    flows.tokens.clear()
    await world.settle()
    await world.step(flows.tokens[0]).complete("by hand")
    await world.settle()
    await world.step(flows.tokens[1]).heartbeat()
    await world.step(flows.tokens[1]).fail("not today")
    return await outcome(world, run)


@scenario(flows.one_signal)
async def one_signal(world: World, run: Any) -> Any:
    await world.until_waiting(run, "go")
    await run.signal(flows.go, 7)
    return await outcome(world, run)


@scenario(flows.many_signals)
async def many_signals(world: World, run: Any) -> Any:
    await world.until_waiting(run, "go")
    for signal, value in ((flows.go, 1), (flows.stop, "a"), (flows.go, 2), ("stop", "b"), (flows.go, 0)):
        await run.signal(signal, value, message_id=f"{value}")
        await run.signal(signal, value, message_id=f"{value}")
        await world.settle()
    said = [await refused(run.signal(flows.go, 1))]
    return [*said, await outcome(world, run)]


@scenario(flows.updates)
async def updates(world: World, run: Any) -> Any:
    said = [await run.update(flows.add, number) for number in (1, 2)]
    said += [await refused(run.update(flows.add, number)) for number in (-1, 13)]
    said += [await run.update(flows.add, 3, update_id="same") for _ in range(2)]
    said.append(await run.query(flows.total))
    await world.settle()
    await run.signal(flows.go, 0)
    said.append(await outcome(world, run))
    return [*said, await run.query(flows.total)]


@scenario(flows.people)
async def people(world: World, run: Any) -> Any:
    await world.until_waiting(run, "approval")
    said = [
        [one.key, one.kind, one.prompt, one.answer_schema, one.about, str(one.deadline)]
        for one in await run.questions()
    ]
    await run.approve(by="alice", comment="fine")
    await world.until_waiting(run, "answer")
    said.append(await refused(run.answer("many", by="bob")))
    await run.answer(7, by="bob")
    await world.settle()
    await world.advance(60)
    await world.until_waiting(run, "approval")
    await run.reject(by="carol", comment="not today")
    return [*said, await outcome(world, run)]


@scenario(flows.people)
async def approval_in_vain(world: World, run: Any) -> Any:
    return await outcome(world, run)


@scenario(families.leaves_children)
async def leaves_children(world: World, run: Any) -> Any:
    said = [await outcome(world, run)]
    await world.settle()
    await world.get("to-abandon").signal(families.go, 9)
    said += [await outcome(world, world.get(f"to-{fate}")) for fate in ("terminate", "cancel", "abandon")]
    return said


@scenario(families.tells)
async def tells(world: World, run: Any) -> Any:
    listener = await world.start(families.listener.options(id="listener"))
    return [await outcome(world, one) for one in (run, listener)]


@scenario(families.child, 1)
async def delayed_start(world: World, run: Any) -> Any:
    late = await world.start(families.child.options(id="late", delay=3600), 2)
    return [await outcome(world, one) for one in (run, late)]


@scenario(families.child, 1)
async def attached_start(world: World, run: Any) -> Any:
    same = await world.start(families.child.options(id="run"), 1)
    said = [same.run_id == run.run_id, await refused(world.start(families.child.options(id="run"), 2))]
    return [*said, await outcome(world, run)]


@scenario(families.rolled_back)
async def crash_while_a_child_sleeps(world: World, run: Any) -> Any:
    await world.until_waiting(run, "child")
    await world.crash()
    return await outcome(world, run)


@scenario(flows.retries)
async def crash_between_attempts(world: World, run: Any) -> Any:
    await world.settle()
    await world.crash()
    return await outcome(world, run)


@scenario(flows.people)
async def crash_before_an_answer(world: World, run: Any) -> Any:
    await world.until_waiting(run, "approval")
    await world.crash()
    await run.approve(by="alice")
    await world.until_waiting(run, "answer")
    await world.crash()
    await run.answer(7, by="bob")
    await world.settle()
    await world.advance(60)
    await run.reject(by="carol")
    return await outcome(world, run)


@scenario(families.again, 0, [])
async def crash_before_messages_are_read(world: World, run: Any) -> Any:
    await world.settle()
    await run.signal(families.go, 1, message_id="1")
    await world.settle()
    await run.signal(families.go, 2, message_id="2")
    await world.crash()
    await world.settle()
    await run.signal(families.go, 3, message_id="3")
    return await outcome(world, run)


@scenario(families.again, 0, [])
async def again(world: World, run: Any) -> Any:
    for number in (1, 2, 3, 4):
        await world.settle()
        await run.signal(families.go, number, message_id=f"{number}")
    return await outcome(world, run)


@scenario(families.cancelled)
async def cancelled(world: World, run: Any) -> Any:
    await world.until_waiting(run, "sleep")
    await run.cancel("changed my mind")
    await world.settle()
    return await outcome(world, run)


@scenario(families.cancelled)
async def terminated(world: World, run: Any) -> Any:
    await world.until_waiting(run, "sleep")
    await run.terminate("out of order")
    return await outcome(world, run)


@scenario(families.rollback_fails)
async def rollback_asked_again(world: World, run: Any) -> Any:
    said = await outcome(world, run)
    await world.settle()
    await world.advance(60)
    await run.rollback()
    await world.settle()
    await world.advance(60)
    return said
