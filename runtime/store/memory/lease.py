"""Workers of one process and their signs of life."""

from __future__ import annotations

from collections.abc import Callable

from runtime.store.row import WorkerRow


class MemoryLease:
    """A sign of life that lasts for ``lease_seconds`` after each beat of the event loop.

    Worker and store share one process, so there is no heart that could go on beating while the loop hangs:
    the loop's own beats renew the lease.

    Args:
        worker: whose it is.
        lease_seconds: how long one beat lasts.
        clock: seconds from any origin, never going back.
        give_back: frees what the worker holds, once, when it ends.
    """

    def __init__(
        self,
        worker: WorkerRow,
        lease_seconds: float,
        clock: Callable[[], float],
        give_back: Callable[[], None],
    ) -> None:
        self.worker = worker
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._give_back = give_back
        self._beat_at = clock()
        self._is_ended = False

    def is_fresh(self) -> bool:
        """Whether the last beat is recent enough."""
        return not self._is_ended and self._clock() - self._beat_at < self._lease_seconds

    def loop_alive(self) -> None:
        """Beat, unless it comes too late: others take the worker for dead by then."""
        if self.is_fresh():
            self._beat_at = self._clock()

    async def end(self) -> None:
        """Stop for ever and give back what is held."""
        if not self._is_ended:
            self._is_ended = True
            self._give_back()

    def remove(self) -> None:
        """Stop for ever, as if the worker had died."""
        self._is_ended = True
