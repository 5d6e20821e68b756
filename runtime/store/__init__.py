"""Where runs live: ``open_store`` turns a URL into a store."""

from runtime.store.url import open_store

__all__ = ["open_store"]
