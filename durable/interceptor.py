"""Interceptors: the one seam for tracing, metrics and alerts, around client calls, workflows and steps.

Subclass ``Interceptor``, override what is of interest, and pass instances as ``interceptors=`` to a client, worker or runtime.
The first one is the outermost. Each method gets ``proceed`` and must await it exactly once, unless it raises instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from durable.attempt import StepInfo
    from durable.context import Context

A = TypeVar("A")

Proceed = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class ClientCall:
    """One call of a client.

    Attributes:
        operation: ``start``, ``signal``, ``query``, ``update``, ``answer``, ``cancel`` and so on.
        target: the workflow id; for ``start`` the name of the workflow.
        actor: in whose name.
    """

    operation: str
    target: str
    actor: str


@dataclass(frozen=True, slots=True)
class RunFailure:
    """A run that ended badly, or is stuck.

    Attributes:
        status: ``failed`` or ``stuck``.
        rollback: ``none``, ``completed`` or ``failed``.
        reason: the error in words.
    """

    workflow_id: str
    run_id: str
    workflow: str
    status: str
    rollback: str
    reason: str


class Interceptor:
    """Does nothing; override what is of interest."""

    async def call_client(self, call: ClientCall, proceed: Proceed) -> Any:  # noqa: ARG002 - for overriding
        """Around a call of a client."""
        return await proceed()

    async def run_workflow(self, ctx: Context, proceed: Proceed) -> Any:  # noqa: ARG002 - for overriding
        """Around the workflow function.

        Replay:
            This runs inside the workflow, again on every replay, and must be as deterministic as it; ``ctx.info.is_replaying`` tells
            whether to stay silent.
        """
        return await proceed()

    async def run_step(self, info: StepInfo, proceed: Proceed) -> Any:  # noqa: ARG002 - for overriding
        """Around one attempt of a step."""
        return await proceed()

    async def on_failed(self, failure: RunFailure) -> None:
        """After a run has failed or become stuck, once that is durable. A crash in between may lose the call."""


def chain(interceptors: Sequence[Interceptor], method: str, about: A, innermost: Proceed) -> Proceed:
    """``innermost`` with the interceptors' method of this name around it, the first one outermost."""
    proceed = innermost
    for interceptor in reversed(interceptors):
        proceed = partial(getattr(interceptor, method), about, proceed)
    return proceed
