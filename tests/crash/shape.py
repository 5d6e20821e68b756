"""What a shape of workflow is to the crash tests, and the conversation that a client has with its run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from crash.ledger import Ledger
from durable.errors import MessageRejectedError, QuestionNotFoundError, RunClosedError
from durable.workflow import WorkflowDefinition
from runtime import Client
from runtime.client.handle import RunHandle
from runtime.store.row import RunRow

PATIENCE = 60
"""Seconds after which a run that does not get on is called lost."""


def waits_for(what: str) -> Callable[[RunRow], bool]:
    """Whether a run waits for something, in the words of ``waiting_for``."""
    return lambda row: what in (row.waiting_for or "")


class Talk:
    """One client's side of the conversation. It takes up where a killed process left it.

    What was acknowledged is not said again: the store promised to keep it. What was under way is said again, with
    the same id, because nobody knows whether it got through.
    """

    def __init__(self, client: Client, run: RunHandle[Any], ledger: Ledger) -> None:
        self.client = client
        self.run = run
        self.ledger = ledger

    async def say(
        self, label: str, act: Callable[[], Awaitable[object]], *, when: Callable[[RunRow], bool] | None = None
    ) -> None:
        """Say something once, as far as one can know.

        Args:
            label: names it.
            act: says it.
            when: only once the run is like this.
        """
        if self.ledger.has("said", label):
            return
        if not self.ledger.has("saying", label):
            if when is not None:
                await self.until(when)
            self.ledger.note("saying", label=label)
        reply: object = "refused"
        # It got through, and the run went on or ended, before the process was killed.
        with suppress(RunClosedError, QuestionNotFoundError, MessageRejectedError):
            reply = await act()
        self.ledger.note("said", label=label, reply=repr(reply))

    async def until(self, condition: Callable[[RunRow], bool]) -> None:
        """Wait until the run is like this."""

        async def look() -> bool | None:
            return condition(await self.run.row()) or None

        with anyio.fail_after(PATIENCE):
            await self.client.watch.until(look, lambda _: True)

    async def until_waiting(self, workflow_id: str, what: str) -> None:
        """Wait until another run waits for something, if it has not ended already."""

        async def look() -> bool | None:
            row = await self.client.store.get_run(workflow_id)
            return (row is not None and (row.status.is_closed or waits_for(what)(row))) or None

        with anyio.fail_after(PATIENCE):
            await self.client.watch.until(look, lambda _: True)


@dataclass(frozen=True)
class Shape:
    """A kind of run.

    Attributes:
        workflow: the run under test.
        outcome: of the run: the text of its result, or the error.
        arguments: of it.
        others: more workflows that it needs.
        talk: what a client does meanwhile.
        queues: served by a second worker of the same process, for steps that are routed.
    """

    workflow: WorkflowDefinition[..., Any]
    outcome: str
    arguments: tuple[Any, ...] = ()
    others: Sequence[WorkflowDefinition[..., Any]] = ()
    talk: Callable[[Talk], Awaitable[None]] | None = None
    queues: Sequence[str] = ()

    @property
    def workflows(self) -> list[WorkflowDefinition[..., Any]]:
        """All that a worker needs."""
        return [self.workflow, *self.others]
