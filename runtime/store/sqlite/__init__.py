"""The store in one SQLite file."""

from runtime.store.sqlite.readonly import ReadOnlySqliteStore
from runtime.store.sqlite.store import SqliteStore

__all__ = ["ReadOnlySqliteStore", "SqliteStore"]
