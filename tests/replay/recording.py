"""How a history is made: a shape is a workflow with a script, and ``record`` plays the script against a runtime in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from durable import workflow
from durable.history import Event
from durable.info import RunIdentity
from durable.registry import Registry
from durable.workflow import WorkflowDefinition
from runtime import Runtime
from runtime.client.handle import RunHandle

PATIENCE = 30

Script = Callable[[Runtime, RunHandle[Any]], Awaitable[object]]


@dataclass(frozen=True)
class Shape:
    """A workflow and what the world does to a run of it."""

    definition: WorkflowDefinition[..., Any]
    arguments: tuple[Any, ...] = ()
    script: Script | None = None
    others: tuple[WorkflowDefinition[..., Any], ...] = ()

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(frozen=True)
class Recording:
    """What one run left.

    Attributes:
        definition: its workflow.
        identity: its names.
        registry: what its worker knew.
        history: its events.
        blobs: payloads that are stored by hash.
    """

    definition: WorkflowDefinition[..., Any]
    identity: RunIdentity
    registry: Registry
    history: Sequence[Event]
    blobs: Mapping[str, bytes]


SHAPES: dict[str, Shape] = {}


def shape(
    *arguments: Any, script: Script | None = None, others: tuple[WorkflowDefinition[..., Any], ...] = ()
) -> Callable[[Callable[..., Any]], WorkflowDefinition[..., Any]]:
    """Declare a workflow and add it to the corpus."""

    def declare(fn: Callable[..., Any]) -> WorkflowDefinition[..., Any]:
        definition = fn if isinstance(fn, WorkflowDefinition) else workflow(fn)
        SHAPES[definition.name] = Shape(definition, arguments, script, others)
        return definition

    return declare


@cache
def record(name: str) -> list[Recording]:
    """Run a shape, and return what its runs left, the first one first."""
    return asyncio.run(_record(SHAPES[name]))


async def _record(what: Shape) -> list[Recording]:
    async with Runtime("memory://", workflows=[what.definition, *what.others]) as rt:
        run = await rt.start(what.definition.options(id=what.name), *what.arguments)
        if what.script is not None:
            await what.script(rt, run)
        else:
            await run.result(timeout=PATIENCE)
        registry = rt.worker.registry
        recordings = []
        async for summary in rt.list():
            row = await rt.store.get_run_by_id(summary.run_id)
            assert row is not None
            identity = RunIdentity(
                row.workflow_id, row.run_id, row.workflow, row.origin_id, row.first_run_id, row.parent_run_id
            )
            history = await rt.store.read_history(row.run_id)
            blobs = await rt.store.read_blobs(row.run_id)
            recordings.append(Recording(registry.workflow(row.workflow), identity, registry, history, blobs))
        return recordings[::-1]
