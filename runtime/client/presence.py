"""Whether a worker is there for a workflow, and what to type if none is."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.client.client import Client


async def is_served(client: Client, workflow: str) -> bool:
    """Whether a worker that has this workflow is alive."""
    return any(workflow in worker.workflows for worker in await client.store.workers())


def how_to_serve(client: Client, workflow: str) -> str:
    """That nobody serves a workflow, and the command that would."""
    command = shlex.join(["durable", "worker", "TARGET", "--store", client.store.url])
    return f"no worker that has workflow {workflow!r} is running; start one: {command}"
