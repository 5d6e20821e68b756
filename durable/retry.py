"""When a step is tried again: the arithmetic of retries."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from durable.attempt import RetryAfter
from durable.duration import MICROSECONDS, Duration, to_us
from durable.errors import DefinitionError, EncodeError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed attempt is followed by another one.

    Attributes:
        max_attempts: how many attempts in all; None: without end.
        initial_interval: delay after the first failure, seconds or timedelta.
        backoff: factor from one delay to the next, at least 1.
        max_interval: no delay is longer than this.
        jitter: share of the delay, 0 to 1, by which it is shortened at random, so that a crowd spreads out.
        non_retryable: exception classes, or their names (``"ValueError"``, ``"shop.errors.Declined"``), that end the step at once.
    """

    max_attempts: int | None = 5
    initial_interval: Duration = 1
    backoff: float = 2.0
    max_interval: Duration = 60
    jitter: float = 0.0
    non_retryable: Sequence[type[BaseException] | str] = ()

    def __post_init__(self) -> None:
        if self.max_attempts is not None and (not isinstance(self.max_attempts, int) or self.max_attempts < 1):
            raise DefinitionError(f"expected max_attempts to be at least 1 or None, got {self.max_attempts!r}")
        if to_us(self.initial_interval, "initial_interval") < 0:
            raise DefinitionError(f"expected initial_interval not to be negative, got {self.initial_interval!r}")
        if not self.backoff >= 1:
            raise DefinitionError(f"expected backoff to be at least 1, got {self.backoff!r}")
        if to_us(self.max_interval, "max_interval") < to_us(self.initial_interval, "initial_interval"):
            raise DefinitionError(
                f"expected max_interval to be at least initial_interval ({self.initial_interval!r}), "
                f"got {self.max_interval!r}"
            )
        if not 0 <= self.jitter <= 1:
            raise DefinitionError(f"expected jitter to be between 0 and 1, got {self.jitter!r}")
        if isinstance(self.non_retryable, str):
            raise DefinitionError("expected non_retryable to be a sequence of classes or names, got one string")
        for entry in self.non_retryable:
            if not isinstance(entry, str) and not (isinstance(entry, type) and issubclass(entry, BaseException)):
                raise DefinitionError(f"expected non_retryable to hold exception classes or names, got {entry!r}")

    def delay_us(self, attempt: int, spread: float | None = None) -> int:
        """Microseconds between failed attempt number ``attempt`` (from 1) and the next one.

        Args:
            attempt: the attempt that failed.
            spread: 0 to 1, where in the jitter range; None draws it at random.
        """
        initial, ceiling = to_us(self.initial_interval), to_us(self.max_interval)
        try:
            delay = min(ceiling, round(initial * float(self.backoff) ** (attempt - 1))) if initial else 0
        except OverflowError:
            delay = ceiling
        if self.jitter:
            delay -= round(delay * self.jitter * (random.random() if spread is None else spread))  # noqa: S311
        return delay

    def allows(self, attempt: int, error: BaseException) -> bool:
        """Whether another attempt may follow failed attempt number ``attempt`` (from 1)."""
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return False
        return not any(_is_kind(error, entry) for entry in self.non_retryable)

    def next_delay_us(self, attempt: int, error: BaseException) -> int | None:
        """Microseconds until the attempt after failed attempt number ``attempt`` (from 1); None: there is none.

        A ``RetryAfter`` sets the delay. What cannot be recorded is not tried again: its effect has happened, and it could not be
        recorded next time either.
        """
        if isinstance(error, EncodeError) or not self.allows(attempt, error):
            return None
        return to_us(error.delay) if isinstance(error, RetryAfter) else self.delay_us(attempt)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RetryPolicy:
        """The policy that ``to_json`` wrote."""
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON-compatible values; classes by qualified name."""
        return {
            "max_attempts": self.max_attempts,
            "initial_interval": to_us(self.initial_interval) / MICROSECONDS,
            "backoff": self.backoff,
            "max_interval": to_us(self.max_interval) / MICROSECONDS,
            "jitter": self.jitter,
            "non_retryable": [
                e if isinstance(e, str) else f"{e.__module__}.{e.__qualname__}" for e in self.non_retryable
            ],
        }


def _is_kind(error: BaseException, entry: type[BaseException] | str) -> bool:
    if isinstance(entry, type):
        return isinstance(error, entry)
    return any(
        entry in (cls.__name__, cls.__qualname__, f"{cls.__module__}.{cls.__qualname__}") for cls in type(error).__mro__
    )


ONCE: Final = RetryPolicy(max_attempts=1)
"""The default: one attempt."""

COMPENSATION_RETRY: Final = RetryPolicy(max_attempts=10, initial_interval=1, backoff=2.0, max_interval=60)
"""The default of compensations (rule S2)."""
