"""How commits of other processes are noticed."""

import sqlite3

import pytest
from conformance.build import STARTED, begin, message, new_run
from store_until import until

from runtime.store.change import Change
from runtime.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

UNKNOWN = Change()


async def test_listener_hears_of_another_process(sqlite, path):
    other = SqliteStore(path)
    await other.open()
    heard: list[Change] = []
    sqlite.listen(heard.append)
    await other.start(new_run())
    await until(lambda: heard == [UNKNOWN])
    await other.close()


async def test_own_commits_are_no_news(sqlite):
    heard: list[Change] = []
    sqlite.listen(heard.append)
    author = await begin(sqlite)
    await author.commit(STARTED)
    assert not sqlite._parts.writer.has_news()
    assert UNKNOWN not in heard


async def test_foreign_commit_is_news_once(sqlite, path):
    other = SqliteStore(path)
    await other.open()
    await other.start(new_run())
    await sqlite._pool.rows("SELECT 1")
    assert [sqlite._parts.writer.has_news() for _ in range(2)] == [True, False]
    await other.close()


async def test_foreign_commit_that_a_batch_meets_is_told_with_it(sqlite, path):
    other = SqliteStore(path)
    await other.open()
    await other.start(new_run())
    heard: list[Change] = []
    sqlite.listen(heard.append)
    await sqlite.send(message())
    assert UNKNOWN in heard
    assert not sqlite._parts.writer.has_news()
    await other.close()


async def test_nobody_looks_while_the_writer_is_busy(sqlite):
    writer = sqlite._parts.writer
    with writer._mutex:
        assert not writer.has_news()


async def test_foreign_commit_is_noticed_also_after_a_fault_took_the_connection_away(sqlite, path):
    """Who only waits writes nothing that would connect it again."""
    other = SqliteStore(path)
    await other.open()
    await other.start(new_run("a"))
    await until(lambda: not sqlite._parts.writer.has_news())
    heard: list[Change] = []
    sqlite.listen(heard.append)
    sqlite._parts.writer._disconnect()  # as after an I/O error
    await other.start(new_run("b"))
    await until(lambda: UNKNOWN in heard)
    await other.close()


async def test_there_is_no_news_without_a_file(sqlite, path):
    writer = sqlite._parts.writer
    writer._disconnect()
    path.rename(path.with_name("away.db"))
    assert not writer.has_news()
    path.with_name("away.db").rename(path)
    assert writer.has_news()


async def test_fault_while_looking_is_left_to_the_next_write(sqlite, monkeypatch):
    writer = sqlite._parts.writer
    monkeypatch.setattr(writer._session, "read_version", _fail)
    assert not writer.has_news()
    monkeypatch.undo()
    assert (await sqlite.start(new_run())).created


def _fail() -> int:
    raise sqlite3.OperationalError("disk I/O error")
