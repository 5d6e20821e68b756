"""A step that was handed over, from the side of those who complete it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.errors import StepError

if TYPE_CHECKING:
    from durable.testing.execution import Execution
    from durable.testing.fulfiller import Fulfiller


class HandedOverStep:
    """Completes a step whose attempt raised ``CompleteLater``."""

    def __init__(self, fulfiller: Fulfiller, execution: Execution) -> None:
        self._host = fulfiller
        self._execution = execution

    async def complete(self, value: Any = None) -> None:
        """Give the step its result; one that does not fit its return annotation fails it with ``DecodeError``."""
        self._host.steps.complete(self._execution, value)

    async def fail(self, error: BaseException | str) -> None:
        """Let the step fail; it is not repeated."""
        self._host.steps.fail(self._execution, StepError(error) if isinstance(error, str) else error)

    async def heartbeat(self, details: Any = None) -> None:
        """A sign of life; begins ``heartbeat_timeout`` anew."""
        self._host.steps.hear(self._execution, details)
