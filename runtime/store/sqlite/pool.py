"""Connections for reading, through aiosqlite: long reads hold up neither commits nor short reads.

A hop to a connection's thread and back costs many times what a short read does. So short reads share their hops: what
is asked while one is under way goes together with the next one. A thousand callers who wait for their runs, which one
commit ends, cost one hop.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import aiosqlite
import anyio

from durable.errors import StoreError
from runtime.store.sqlite.connection import READER, identify, is_harmless, translate, uri
from runtime.store.sqlite.statement import Bulk

T = TypeVar("T")

_CONNECTIONS: Final = 3
_WAIT_SECONDS: Final = 10.0


class _Reader(NamedTuple):
    connection: aiosqlite.Connection
    file: tuple[int, int]


class Keyed(NamedTuple):
    """A statement that finds rows by their keys, any number of them.

    Attributes:
        bulk: the statement, which has one parameter a key.
        column: where a row that it finds has its key.
    """

    bulk: Bulk
    column: int

    def find(self, connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Any]:
        """The rows by key. A key that is no text that can be stored finds none."""
        sound = [key for key in dict.fromkeys(keys) if _is_sound(key)]
        return {row[self.column]: row for row in self.bulk.read(connection, sound)}


class _Read(NamedTuple):
    """A short read that somebody waits for."""

    statement: str | Keyed
    parameters: Sequence[Any]
    found: asyncio.Future[list[Any]]


class ReadPool:
    """A few connections that cannot write, opened when they are needed.

    Args:
        path: the database file.
        mode: in which SQLite opens it.
    """

    def __init__(self, path: Path, mode: str = "ro") -> None:
        self._path = path
        self._mode = mode
        self._idle: list[_Reader] = []
        self._is_closed = True
        self._limit = anyio.Semaphore(_CONNECTIONS)
        self._opening: set[asyncio.Future[_Reader]] = set()
        self._asked: list[_Read] = []
        self._answering: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Keep connections from now on."""
        self._is_closed = False

    async def rows(self, statement: str | Keyed, parameters: Sequence[Any] = ()) -> list[Any]:
        """All result rows of a statement that finds few; the next short reads wait for it.

        Those for which the same ``Keyed`` is asked at about the same time are found by one statement.

        Raises:
            StoreUnavailableError: the file cannot be read now.
        """
        loop = asyncio.get_running_loop()
        read = _Read(statement, parameters, loop.create_future())
        self._asked.append(read)
        if self._answering is None:
            self._answering = loop.create_task(self._answer())
        return await read.found

    async def row(self, statement: str | Keyed, parameters: Sequence[Any] = ()) -> Any:
        """The only result row of a statement, or None."""
        found = await self.rows(statement, parameters)
        return found[0] if found else None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function with a connection, on that connection's thread, in one read transaction."""

        def in_transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")

        async with self._connected() as connection:
            return await _hop(connection, in_transaction)

    async def _answer(self) -> None:
        """Make the short reads that are asked for, and those that come meanwhile."""
        loop = asyncio.get_running_loop()
        reads: Sequence[_Read] = ()
        try:
            while self._asked:
                reads, self._asked = self._asked, []
                try:
                    await self._read_all(reads)
                except Exception as error:  # noqa: BLE001 - it is told to those who asked
                    for read in reads:
                        if not read.found.done():
                            read.found.set_exception(error)
        except asyncio.CancelledError:  # as by a program that ends all its tasks; who waits for a read still gets it
            self._asked[:0] = [read for read in reads if not read.found.done()]
            raise
        finally:
            self._answering = None
            if self._asked and not loop.is_closed():
                self._answering = loop.create_task(self._answer())

    async def _read_all(self, reads: Sequence[_Read]) -> None:
        """Answer reads in one hop. One that is at fault fails alone; what is wrong with the file fails the rest."""
        async with self._connected() as connection:
            for read, found in zip(reads, await _hop(connection, partial(_fetch_each, reads)), strict=True):
                if isinstance(found, sqlite3.Error):
                    raise found
                if read.found.done():
                    continue
                if isinstance(found, Exception):
                    read.found.set_exception(found)
                else:
                    read.found.set_result(found)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiosqlite.Connection]:
        if self._is_closed:
            raise StoreError(f"{self._path} is not open: await its open() first")
        async with self._limit:
            reader = await self._take()
            is_sound = False
            try:
                yield reader.connection
                is_sound = True
            except sqlite3.Error as error:
                is_sound = is_harmless(error)
                raise translate(error, self._path) from error
            finally:
                if is_sound and not self._is_closed:
                    self._idle.append(reader)
                else:
                    with anyio.CancelScope(shield=True):  # an abandoned connection would keep its thread for ever
                        await reader.connection.interrupt()
                        await reader.connection.close()

    async def _take(self) -> _Reader:
        file = identify(self._path)
        while self._idle:
            reader = self._idle.pop()
            if reader.file == file:
                return reader
            await reader.connection.close()
        opening = asyncio.ensure_future(self._open(file))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._keep)
            raise

    async def _open(self, file: tuple[int, int]) -> _Reader:
        """Connect. Never cancelled half-way: the connection's thread would answer a loop that may be gone by then."""
        try:
            connecting = aiosqlite.connect(
                uri(self._path, self._mode), uri=True, timeout=_WAIT_SECONDS, isolation_level=None
            )
            # Its thread (up to 0.21 the connection itself) is no daemon: a program that fails before it closes the
            # store would never end.
            thread: Any = getattr(connecting, "_thread", connecting)
            thread.daemon = True
            connection = await connecting
            try:
                for setting in READER:
                    await connection.execute_fetchall(setting)
            except BaseException:  # as in a damaged file: its thread would wait for work for ever
                await connection.close()
                raise
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        return _Reader(connection, file)

    def _keep(self, opening: asyncio.Future[_Reader]) -> None:
        """Keep a connection whose reader did not wait for it."""
        if not opening.cancelled() and opening.exception() is None:
            self._idle.append(opening.result())

    async def close(self) -> None:
        """Disconnect; reads that are still running disconnect when they end."""
        self._is_closed = True
        while self._answering is not None:
            await asyncio.wait([self._answering])
        while self._opening:
            await asyncio.wait(set(self._opening))
        while self._idle:
            await self._idle.pop().connection.close()


async def _hop(connection: aiosqlite.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run a function on a connection's thread: aiosqlite has no public way, and a hop a statement costs too much."""
    execute: Callable[..., Awaitable[T]] = connection._execute
    return await execute(work, connection._conn)


def _is_sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fetch_each(reads: Sequence[_Read], connection: sqlite3.Connection) -> list[list[Any] | Exception]:
    """What every read finds, or how it failed."""
    sought: dict[Keyed, list[str]] = {}
    for read in reads:
        if isinstance(read.statement, Keyed):
            sought.setdefault(read.statement, []).extend(read.parameters)
    by_key = {keyed: keyed.find(connection, keys) for keyed, keys in sought.items()}
    found: list[list[Any] | Exception] = []
    for statement, parameters, _ in reads:
        if isinstance(statement, Keyed):
            rows = by_key[statement]
            found.append([rows[key] for key in parameters if key in rows])
            continue
        try:
            found.append(connection.execute(statement, parameters).fetchall())
        except Exception as error:  # noqa: BLE001 - the caller tells whom it concerns
            found.append(error)
    return found
