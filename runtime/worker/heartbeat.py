"""Heartbeats of attempts that run here: what they report, and the limit of their silence (semantics 28)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from durable.codec import Envelope, value_codec
from durable.duration import MICROSECONDS, optional_us
from runtime.worker.execution import Execution, RunningAttempt
from runtime.worker.stepstore import StepStore
from runtime.worker.wheel import Deadlines


class Heartbeats:
    """Takes the reports of attempts. Made on the worker's event loop; reports may come from any thread.

    Args:
        time_out: ends an attempt by the limit of this name and length in microseconds.
    """

    def __init__(
        self, store: StepStore, envelope: Envelope, wheel: Deadlines, time_out: Callable[[Execution, str, int], None]
    ) -> None:
        self._store = store
        self._envelope = envelope
        self._wheel = wheel
        self._time_out = time_out
        self._loop = asyncio.get_running_loop()

    def beat(self, running: RunningAttempt, details: Any) -> None:
        """What ``heartbeat()`` does.

        Raises:
            asyncio.CancelledError: nobody wants the attempt any more.
        """
        execution = running.execution
        if execution.running is not running:
            raise asyncio.CancelledError("the attempt is over")
        if details is not None:
            codec = value_codec(type(details) if hasattr(type(details), "__pydantic_serializer__") else Any)
            execution.heartbeat = self._envelope.seal(codec.encode(details), secret=codec.has_secrets)
        execution.beaten_at = self._wheel.time()
        if execution.cancel_requested or not execution.held.is_ours:
            raise asyncio.CancelledError("the step is not wanted any more")
        if not execution.is_beating:
            execution.is_beating = True
            self._loop.call_soon_threadsafe(self._store.keep_heartbeat, execution)

    def watch(self, execution: Execution) -> None:
        """End the current attempt if it is silent for longer than its limit."""
        limit_us = optional_us(execution.command.definition.options_.heartbeat_timeout, "heartbeat_timeout")
        assert limit_us is not None
        limit = limit_us / MICROSECONDS
        execution.beaten_at = self._wheel.time()

        def check() -> None:
            remaining = round(limit - (self._wheel.time() - execution.beaten_at), 6)  # no rest below a microsecond
            if remaining <= 0:
                self._time_out(execution, "heartbeat_timeout", limit_us)
            else:
                execution.silence_key = self._wheel.add(remaining, check)

        execution.silence_key = self._wheel.add(limit, check)

    def release(self, execution: Execution) -> None:
        """The attempt is over; a long limit must not keep it in memory."""
        if execution.silence_key is not None:
            self._wheel.discard(execution.silence_key)
            execution.silence_key = None
