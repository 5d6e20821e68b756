"""Testing with the real thing: a worker and a client on a temporary SQLite file, in virtual time."""

from runtime.testing.clock import AlarmClock
from runtime.testing.environment import RuntimeEnvironment

__all__ = ["AlarmClock", "RuntimeEnvironment"]
