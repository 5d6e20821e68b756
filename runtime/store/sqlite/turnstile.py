"""A lock that is handed on in the order of arrival.

``threading.Lock`` goes to whoever asks first after its release, which is most often the thread that released it: under
load the writer would keep it for ever, and checkpoints and transactional steps would never get their turn.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Turnstile:
    """A mutual exclusion lock, first come, first served. Any thread may release it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_held = False
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock; False if that would mean to wait and ``blocking`` is false."""
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return True
            if not blocking:
                return False
            place = threading.Lock()
            place.acquire()
            self._waiting.append(place)
        place.acquire()  # until it is handed on
        return True

    def release(self) -> None:
        """Hand the lock on to who has waited for longest."""
        with self._guard:
            assert self._is_held, "released more often than acquired"
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
