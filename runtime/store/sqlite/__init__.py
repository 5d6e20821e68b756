"""The store in one SQLite file."""

from runtime.store.sqlite.snapshot import SqliteSnapshot
from runtime.store.sqlite.store import SqliteStore

__all__ = ["SqliteSnapshot", "SqliteStore"]
