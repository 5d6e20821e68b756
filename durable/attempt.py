"""One attempt of a step, from inside: what it knows, what it reports, and how it asks for another time or another hand."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from durable.duration import Duration, to_us


class RetryAfter(Exception):  # noqa: N818 - it asks for something, it is not an error of its own
    """Raise it in a step to fail this attempt and set the delay before the next one.

    Args:
        delay: seconds or timedelta.
        message: why, for the history.
    """

    def __init__(self, delay: Duration, message: str = "") -> None:
        super().__init__(delay, message)
        self.delay = delay
        self.message = message
        to_us(delay, "delay")

    def __str__(self) -> str:
        return self.message or f"retry after {self.delay}"


class CompleteLater(BaseException):
    """Raise it in a step to hand the step over: ``client.step(token).complete(...)`` finishes it.

    A BaseException, so that the step's own ``except Exception`` does not take it for a failure.
    """


@dataclass(frozen=True, slots=True)
class StepInfo:
    """What a running step knows about itself.

    Attributes:
        workflow_id, run_id: the run.
        step: name of the step.
        attempt: 1 for the first.
        idempotency_key: the same on every attempt and after every crash; hand it to the systems that you call.
        token: names this step to other systems (``client.step(token)``).
        heartbeat_details: what the attempt before reported last, or None.
        started_at_us: when this attempt began, UTC microseconds.
        deadline_us: when it times out, or None.
        connection: the database connection of a transactional step, else None.
    """

    workflow_id: str
    run_id: str
    workflow: str
    step: str
    command: int
    attempt: int
    idempotency_key: str
    token: str
    heartbeat_details: Any = None
    started_at_us: int = 0
    deadline_us: int | None = None
    connection: Any = None


class StoppedError(RuntimeError):
    """Carries a ``StopIteration``, which neither a future nor a coroutine lets through.

    Attributes:
        error: what the call raised.
    """

    def __init__(self, error: StopIteration) -> None:
        super().__init__("the step raised StopIteration")
        self.error = error
        self.__cause__ = error


class RunningStep(Protocol):
    """What the worker keeps of the step that runs."""

    def info(self) -> StepInfo:
        """What ``step_info()`` returns."""
        ...

    def beat(self, details: Any) -> None:
        """What ``heartbeat()`` does."""
        ...


current_step: ContextVar[RunningStep] = ContextVar("durable_step")
"""Set by the worker around each attempt."""


def step_info() -> StepInfo:
    """What the running step knows about itself.

    Raises:
        LookupError: outside a step.
    """
    running = current_step.get(None)
    if running is None:
        raise LookupError("step_info() is only known inside a running step")
    return running.info()


def heartbeat(details: Any = None) -> None:
    """Say that the running step is alive, and keep ``details`` for the next attempt.

    Outside a step, and in one with ``isolation="process"``, it does nothing.

    Args:
        details: any JSON-compatible value or pydantic model; the next attempt finds it in ``step_info().heartbeat_details``.

    Raises:
        EncodeError: if the details cannot be recorded.
        asyncio.CancelledError: when the step is no longer wanted, or this attempt of it timed out: how a thread is told.
    """
    running = current_step.get(None)
    if running is not None:
        running.beat(details)
