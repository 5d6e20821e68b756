"""From a URL to a store."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from durable.errors import ConfigurationError
from runtime.store.location import find_store, find_url
from runtime.store.protocol import Store

_FORMS: Final = "sqlite:///relative/path, sqlite:////absolute/path or memory://"
_SCHEMES: Final = ("sqlite", "memory", "postgresql", "postgres")


def open_store(url: str | None = None, *, read_only: bool = False) -> Store:
    """The store that a URL names. It is not connected yet: await its ``open()``.

    Args:
        url: ``sqlite:///path`` (a fourth slash makes the path absolute), ``memory://``, or None for what the command
            line would use: ``DURABLE_STORE``, else the store of ``[tool.durable]``, else the nearest parent directory's
            ``.durable/durable.db``, else one in the working directory.
        read_only: what is opened writes nothing, and creates nothing where there is no store.

    Raises:
        ConfigurationError: the URL cannot be understood, or names a kind of store that is not available.
    """
    if url is None:
        url = find_url()
    if url is None:
        return _sqlite(find_store(), read_only=read_only)
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise ConfigurationError(f"expected the store's URL to be {_FORMS}, got {url!r}{_suggestion(url)}")
    match scheme:
        case "sqlite":
            return _sqlite(_path(url, rest), read_only=read_only)
        case "memory":
            if rest:
                raise ConfigurationError(f"expected memory:// without anything behind it, got {url!r}")
            from runtime.store.memory import MemoryStore

            return MemoryStore()
        case "postgresql" | "postgres":
            raise ConfigurationError(f"PostgreSQL stores are not available yet; use {_FORMS}")
        case _:
            raise ConfigurationError(f"unknown kind of store {scheme!r} in {url!r}: expected {_FORMS}{_guess(scheme)}")


def _sqlite(path: str | Path, *, read_only: bool) -> Store:
    from runtime.store.sqlite import ReadOnlySqliteStore, SqliteStore

    return ReadOnlySqliteStore(path) if read_only else SqliteStore(path)


def _path(url: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host:
        raise ConfigurationError(
            f"expected three slashes before a relative path and four before an absolute one, got {url!r}: "
            f"did you mean sqlite:///{rest}?"
        )
    if not slash or not path.strip("/"):
        raise ConfigurationError(f"expected a path in {url!r}, like sqlite:///app.db")
    return unquote(path)


def _suggestion(url: str) -> str:
    """What somebody meant who gave a plain path."""
    if url.endswith((".db", ".sqlite", ".sqlite3")):
        return f": did you mean sqlite:///{url}?"
    return ""


def _guess(scheme: str) -> str:
    close = difflib.get_close_matches(scheme, _SCHEMES, n=1)
    return f"; did you mean {close[0]}://?" if close else ""
