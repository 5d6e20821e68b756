"""Heartbeats on their way to the store, while threads beat on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.clock import SystemClock
from runtime.worker.outage import Outage
from runtime.worker.stepstore import StepStore

pytestmark = pytest.mark.anyio


class BeatenAtTheLastMoment:
    """A step whose thread beats once more just before the write of the beat before is said to be over."""

    runner = None

    def __init__(self) -> None:
        self.held = SimpleNamespace(row=SimpleNamespace(run_id="r"), executions={1: self})
        self.command = SimpleNamespace(number=1, name="s")
        self.heartbeat = "first"
        self._is_beating = True

    @property
    def is_beating(self) -> bool:
        return self._is_beating

    @is_beating.setter
    def is_beating(self, value: bool) -> None:
        if self._is_beating and not value and self.heartbeat == "first":
            self.heartbeat = "last"  # and as one is on its way to the store, that is all it does
        self._is_beating = value


async def test_last_heartbeat_is_kept_however_late_it_comes() -> None:
    """Semantics 28: a step that then works on in silence, or whose worker is gone, goes on from there."""
    kept: list[Any] = []

    class Store:
        async def heartbeat(self, run_id: str, command: int, payload: str | None, now_us: int) -> bool:
            kept.append(payload)
            return True

    clock, loop = SystemClock(), asyncio.get_running_loop()
    store: Any = Store()
    execution: Any = BeatenAtTheLastMoment()
    steps = StepStore(store, clock, Outage(clock), loop.create_task, lambda then: None)
    steps.keep_heartbeat(execution)
    await steps.last_words()
    assert kept == ["first", "last"]
    assert not execution.is_beating
