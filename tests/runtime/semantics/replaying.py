"""A recorded history against the code, as in a process that has just started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from durable.history import Event
from durable.info import RunIdentity
from durable.kernel.replayer import Replayer
from durable.registry import Registry
from durable.workflow import WorkflowDefinition


def replay(
    definition: WorkflowDefinition[..., Any],
    history: Sequence[Event],
    blobs: Mapping[str, bytes] | None = None,
    workflow_id: str = "x",
    run_id: str = "run",
) -> Replayer:
    """Replay strictly: whatever differs from the record raises ``NondeterminismError``."""
    numbers = count()
    identity = RunIdentity(workflow_id, run_id, definition.name, run_id, run_id)
    replayer = Replayer(
        definition, identity, registry=Registry([definition]), ids=lambda: f"made-up-{next(numbers)}", strict=True
    )
    replayer.load(history, blobs)
    return replayer
