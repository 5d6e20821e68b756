"""``MemoryStore``: the store for tests and for work that may be lost with its process."""

from runtime.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
