"""Callbacks in a loop's queue: what ``call_soon`` and ``call_later`` return, and how delays are rounded."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from math import isnan, ulp
from typing import Any, Final, Protocol

NEVER_US: Final = 2**53
"""Timers that are due in 285 years or later are not started: a float cannot hold their deadlines."""


class TimerOwner(Protocol):
    """Who is told when the callback of a started timer is taken back."""

    def timer_cancelled(self, number: int) -> None:
        """Cancel the timer of this command number."""


class Handle:
    """A callback waiting for its turn. Without a callback it was cancelled."""

    __slots__ = ("args", "callback", "context")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context

    def cancel(self) -> None:
        """Keep the callback from being called."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Tell whether ``cancel`` was called."""
        return self.callback is None

    def get_context(self) -> Context:
        """Return the context that the callback is called in."""
        return self.context

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'cancelled' if self.callback is None else describe(self.callback)}>"


class TimerHandle(Handle):
    """A callback waiting for its time.

    Attributes:
        deadline: when, on the loop's clock, in seconds.
        number: the command that started its timer; 0 where none is running (any more).
    """

    __slots__ = ("deadline", "number", "owner")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context,
        owner: TimerOwner,
        deadline: float,
    ) -> None:
        super().__init__(callback, args, context)
        self.owner = owner
        self.deadline = deadline
        self.number = 0

    def cancel(self) -> None:
        """Keep the callback from being called, and cancel its timer unless that has fired."""
        super().cancel()
        if self.number:
            number, self.number = self.number, 0
            self.owner.timer_cancelled(number)

    def when(self) -> float:
        """Return the deadline on the loop's clock, in seconds."""
        return self.deadline


def describe(callback: Callable[..., object]) -> str:
    """Name a callback without its address, which would differ in each process."""
    return getattr(callback, "__qualname__", None) or type(callback).__qualname__


def microseconds(seconds: float) -> int:
    """Round up to whole microseconds (K8), and to 0 what is less.

    What a sum of floats is off by does not count: half a minute from any moment on is half a minute.

    Raises:
        ValueError: not a number.
    """
    if isnan(seconds):
        raise ValueError("expected a time in seconds, got nan")
    if seconds <= 0:
        return 0
    if seconds * 1e6 >= NEVER_US:
        return 2 * NEVER_US
    value = round(seconds * 1e6)
    return value + 1 if seconds - value / 1e6 > 2 * ulp(seconds) else value
