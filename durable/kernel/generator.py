"""The asynchronous generators of a run.

asyncio lets the garbage collector decide when an abandoned generator runs its ``finally``. In a run nothing
may happen at a time that the history does not decide, so generators are held until the run ends or they are
finished.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from typing import Any, Final

from durable.kernel.task import MAX_CLOSES, unclosable

FIRST_SWEEP: Final = 64
"""How many generators are held before those that have finished are let go for the first time."""


class Generators:
    """The generators that were begun, in that order."""

    __slots__ = ("_held", "_sweep_at")

    def __init__(self) -> None:
        self._held: list[Any] = []
        self._sweep_at = FIRST_SWEEP

    def hold(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Keep a generator, and let go of finished ones whenever the number has doubled."""
        held = self._held
        held.append(generator)
        if len(held) > self._sweep_at:
            held[:] = [each for each in held if each.ag_frame is not None]
            self._sweep_at = 2 * len(held) + FIRST_SWEEP

    def __iter__(self) -> Iterator[Any]:
        """The held ones, finished or not."""
        return iter(self._held)

    def take(self) -> Any:
        """Give away the newest one that is not finished, or None."""
        held = self._held
        while held:
            generator = held.pop()
            if generator.ag_frame is not None:
                return generator
        return None


def close_generator(generator: Any) -> bool:
    """Close a generator of an evicted run, up to where its ``finally`` waits, and say whether it obeyed.

    One that a closed coroutine was waiting for is left as it is: before 3.13 Python takes it to be running
    still.
    """
    if generator.ag_running:
        return True
    closer = generator.aclose()
    with suppress(BaseException):
        closer.send(None)
    for _ in range(MAX_CLOSES):
        if generator.ag_frame is None:
            return True
        with suppress(BaseException):
            closer.throw(GeneratorExit)  # before 3.13 ``close`` would close the closer alone
    unclosable.append(generator)
    return False


def leave_alone(generator: AsyncGenerator[Any, Any]) -> None:
    """Finalize nothing: of an evicted run nothing is left that could run the generator's ``finally``."""
