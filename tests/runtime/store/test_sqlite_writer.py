"""Batches, commits on the spot, and what happens when the disk or the lock is not to be had (rule D2)."""

import asyncio
import os
import resource
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest
from conformance.build import COMPLETED, STARTED, begin, begin_waiting, commit, message, new_run

from durable.errors import ConflictError, RunNotFoundError, StoreError, StoreFormatError, StoreUnavailableError
from durable.handle import RunStatus
from durable.history import Fact, verify_chain
from runtime.store.row import RunFilter
from runtime.store.sqlite import SqliteStore, migration, writer
from runtime.store.sqlite.checkpoint import Checkpointer
from runtime.store.sqlite.connection import translate
from runtime.store.sqlite.job import Commit
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio

NO_TEXT = "\ud800"
"""A lone surrogate: no UTF-8 can hold it."""

UNWRITABLE = RunChange(RunStatus.WAITING, waiting_for=NO_TEXT)


@pytest.fixture
def commits(monkeypatch) -> list[int]:
    """Grows by one with every database transaction."""
    seen: list[int] = []
    committed = Checkpointer.committed

    def count(self: Checkpointer, began_ns: int) -> None:
        seen.append(began_ns)
        committed(self, began_ns)

    monkeypatch.setattr(Checkpointer, "committed", count)
    return seen


@contextmanager
def locked(path: Path):
    """Another program writes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        other.execute("ROLLBACK")


def step(number: int) -> Fact:
    return Fact("StepScheduled", number, "charge")


# -- batches ----------------------------------------------------------------------------------------------


async def test_concurrent_calls_share_transactions(sqlite, commits):
    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(sqlite.start, new_run(f"w{number}"))
    assert len(commits) < 20


@pytest.fixture
def fast_disk(monkeypatch) -> None:
    """Commits count as fast, however slow the disk of this machine is."""
    monkeypatch.setattr(writer, "_FAST_NS", 10**15)


async def test_lone_turn_is_committed_before_commit_returns(sqlite, fast_disk):
    author = await begin(sqlite)
    outcomes: list[object] = []
    sqlite.commit([author.turn(STARTED)], outcomes.extend)
    assert outcomes == [None]


async def test_several_turns_do_not_hold_up_the_event_loop(sqlite):
    authors = [await begin(sqlite, "a"), await begin(sqlite, "b")]
    outcomes: list[object] = []
    sqlite.commit([author.turn(STARTED) for author in authors], outcomes.extend)
    assert outcomes == []
    await sqlite.send(message("a"))
    assert outcomes == [None, None]


async def test_turn_is_not_committed_on_the_spot_while_commits_are_slow(sqlite, monkeypatch):
    author = await begin(sqlite)
    monkeypatch.setattr(writer, "_FAST_NS", 0)
    outcomes: list[object] = []
    sqlite.commit([author.turn(STARTED)], outcomes.extend)
    assert outcomes == []
    await sqlite.send(message())
    assert outcomes == [None]


async def test_commits_are_applied_in_the_order_of_the_calls(sqlite):
    author, other = await begin(sqlite, "a"), await begin(sqlite, "b")
    outcomes: list[object] = []
    sqlite.commit([author.turn(STARTED), other.turn(STARTED)], outcomes.extend)
    for number in range(50):
        sqlite.commit([author.turn(step(number))], outcomes.extend)
    await sqlite.send(message("a"))
    assert outcomes == [None] * 52
    history = await sqlite.read_history(author.run.run_id)
    assert [event.command for event in history] == [None, *range(50)]
    verify_chain(history)


async def test_done_may_commit_again(sqlite, fast_disk):
    author = await begin(sqlite)
    outcomes: list[object] = []

    def first(results: object) -> None:
        outcomes.append(results)
        sqlite.commit([author.turn(COMPLETED)], outcomes.append)

    sqlite.commit([author.turn(STARTED)], first)
    assert outcomes == [[None], [None]]


async def test_refused_call_does_not_disturb_its_batch(sqlite, commits):
    results = await asyncio.gather(
        sqlite.start(new_run("a")),
        sqlite.send(message("nobody")),
        sqlite.start(new_run("b")),
        return_exceptions=True,
    )
    assert isinstance(results[1], RunNotFoundError)
    assert results[0].created
    assert results[2].created


async def test_call_that_cannot_be_written_does_not_take_its_batch_with_it(sqlite):
    results = await asyncio.gather(
        sqlite.start(new_run("a")),
        sqlite.start(new_run(NO_TEXT)),
        sqlite.start(new_run("b")),
        return_exceptions=True,
    )
    assert isinstance(results[1], UnicodeEncodeError)
    assert [await sqlite.get_run(name) is not None for name in "ab"] == [True, True]


async def test_turn_that_cannot_be_written_does_not_take_its_batch_with_it(sqlite):
    good, bad, stale = [await begin(sqlite, name) for name in "abc"]
    stale.turn(STARTED)
    outcomes = await commit(
        sqlite, good.turn(STARTED), bad.turn(change=UNWRITABLE), stale.turn(STARTED), good.turn(COMPLETED)
    )
    assert outcomes[0] is None
    assert type(outcomes[1]) is StoreError
    assert isinstance(outcomes[2], ConflictError)
    assert outcomes[3] is None
    assert len(await sqlite.read_history(good.run.run_id)) == 2
    assert await sqlite.read_history(bad.run.run_id) == []


async def test_lone_turn_that_cannot_be_written_says_why(sqlite):
    author = await begin(sqlite)
    [outcome] = await commit(sqlite, author.turn(change=UNWRITABLE))
    assert "surrogates not allowed" in str(outcome)


async def test_cancelled_caller_does_not_undo_what_was_submitted(sqlite):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await sqlite.start(new_run())
    await sqlite.start(new_run("later"))
    assert await sqlite.get_run("w") is not None


async def test_close_finishes_what_was_submitted(path):
    store = SqliteStore(path)
    await store.open()
    authors = [await begin(store, "a"), await begin(store, "b")]
    outcomes: list[object] = []
    store.commit([author.turn(STARTED) for author in authors], outcomes.extend)
    await store.close()
    assert outcomes == [None, None]
    await store.open()
    assert len(await store.read_history(authors[1].run.run_id)) == 1
    await store.close()


async def test_forgets_runs_when_it_knows_many(sqlite, monkeypatch):
    monkeypatch.setattr("runtime.store.sqlite.session._REMEMBERED", 10)
    for number in range(30):
        author = await begin(sqlite, f"w{number}")
        await author.commit(STARTED, consumed=author.row_ids)
    assert not (await sqlite.start(new_run("w0"))).created


# -- the lock ---------------------------------------------------------------------------------------------


async def test_locked_database_is_waited_for(sqlite, path):
    author = await begin(sqlite)
    outcomes: list[object] = []
    with locked(path):
        sqlite.commit([author.turn(STARTED)], outcomes.extend)
        assert outcomes == []
    await sqlite.send(message())
    assert outcomes == [None]


async def test_database_locked_for_too_long_is_unavailable_and_then_available(path):
    store = SqliteStore(path, wait_seconds=0.05)
    await store.open()
    author = await begin(store)
    with locked(path):
        with pytest.raises(StoreUnavailableError, match="another program holds its write lock"):
            await store.send(message())
        [outcome] = await commit(store, author.turn(STARTED))
        assert isinstance(outcome, StoreUnavailableError)
        assert await store.read_history(author.run.run_id) == []
    assert (await store.send(message())).workflow_id == "w"
    await store.close()


# -- the disk ---------------------------------------------------------------------------------------------


@contextmanager
def full_disk(limit_bytes: int):
    """No file of this process may grow beyond the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_full_disk_is_unavailable_writes_nothing_and_is_recovered_from(sqlite, path):
    author = await begin(sqlite)
    outcomes: list[object] = []
    log = path.with_name(f"{path.name}-wal")
    with full_disk(log.stat().st_size):
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await sqlite.start(new_run("b"))
        sqlite.commit([author.turn(STARTED)], outcomes.extend)
        with pytest.raises(StoreUnavailableError):
            await sqlite.start(new_run("b"))
    assert isinstance(outcomes[0], StoreUnavailableError)
    assert await sqlite.get_run("b") is None
    assert (await sqlite.start(new_run("b"))).created
    assert await sqlite.read_history(author.run.run_id) == []


@pytest.mark.parametrize(("free_blocks", "words"), [(0, "free space on its disk"), (1000, "has room and is mounted")])
async def test_disk_error_for_want_of_room_says_so(sqlite, path, monkeypatch, free_blocks, words):
    """SQLite calls it SQLITE_IOERR_SHMSIZE and other names where it is not a file that it writes to which has no room."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_SHMSIZE, "SQLITE_IOERR_SHMSIZE"
    full = os.statvfs_result((4096, 4096, 1000, free_blocks, free_blocks, 1000, 1000, 1000, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert words in translate(error, path).message
    assert words in migration._explain(error, path).message


async def test_backup_to_a_full_disk_blames_the_copy_and_leaves_nothing(sqlite, tmp_path):
    await begin_waiting(sqlite)
    copies = tmp_path / "copies"
    copies.mkdir()
    with full_disk(64 * 1024), pytest.raises(StoreError) as caught:
        await sqlite.backup(copies / "copy.db")
    assert f"{copies / 'copy.db'} cannot be used now" in caught.value.message
    assert list(copies.iterdir()) == []


async def test_full_database_names_the_remedy(sqlite):
    connection = sqlite._parts.writer._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailableError, match="free space on its disk"):
        await sqlite.start(new_run(input_digest="x" * 100_000))
    connection.execute("PRAGMA max_page_count = 1000000")
    assert (await sqlite.start(new_run(input_digest="x" * 100_000))).created


async def test_database_that_is_gone_for_a_while_is_unavailable_until_it_is_back(sqlite, path):
    author = await begin_waiting(sqlite)
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir()
    for file in list(path.parent.glob("durable.db*")):
        file.rename(elsewhere / file.name)
    with pytest.raises(StoreUnavailableError, match="is gone"):
        await sqlite.start(new_run("b"))
    with pytest.raises(StoreUnavailableError, match="is gone"):
        await sqlite.get_run("w")
    assert not path.exists()
    for file in list(elsewhere.iterdir()):
        file.rename(path.parent / file.name)
    assert (await sqlite.start(new_run("b"))).created
    assert (await sqlite.get_run("w")).run_id == author.run.run_id


async def test_database_that_was_replaced_by_a_backup_is_used_instead(sqlite, path, tmp_path):
    await begin_waiting(sqlite, "a")
    await sqlite.backup(tmp_path / "copy.db")
    await begin_waiting(sqlite, "b")
    for file in list(path.parent.glob("durable.db*")):
        if file.is_file():
            file.unlink()
    os.replace(tmp_path / "copy.db", path)
    assert (await sqlite.start(new_run("b"))).created
    assert not (await sqlite.start(new_run("a"))).created
    assert (await sqlite.get_run("a")).status == "waiting"


async def test_database_that_was_replaced_by_another_programs_is_refused(sqlite, path):
    await begin_waiting(sqlite)
    for file in list(path.parent.glob("durable.db*")):
        if file.is_file():
            file.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE customers (id INTEGER)")
    with pytest.raises(StoreFormatError, match="another program"):
        await sqlite.start(new_run("b"))


async def test_another_process_sees_commits_and_stale_turns_conflict(sqlite, path):
    other = SqliteStore(path)
    await other.open()
    author = await begin(sqlite)
    await author.commit(STARTED, consumed=author.row_ids)
    turn = author.turn(step(1))
    assert await commit(other, turn) == [None]
    [outcome] = await commit(sqlite, turn)
    assert isinstance(outcome, ConflictError)
    assert not (await other.start(new_run())).created
    await other.close()


async def test_two_processes_may_write_at_once(sqlite, path):
    other = SqliteStore(path)
    await other.open()

    async def start_many(store: SqliteStore, name: str) -> None:
        for number in range(50):
            await store.start(new_run(f"{name}{number % 25}"))
            await store.start(new_run(f"shared{number % 25}"))

    async with anyio.create_task_group() as group:
        group.start_soon(start_many, sqlite, "a")
        group.start_soon(start_many, other, "b")
    runs, _ = await sqlite.list_runs(RunFilter(), 1000)
    assert len(runs) == 75
    await other.close()


# -- what need not survive power loss ---------------------------------------------------------------------


def is_synced(store: SqliteStore) -> bool:
    return store._parts.writer._connection.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_only_what_need_not_survive_is_written_without_a_sync(sqlite):
    run = (await begin_waiting(sqlite)).run
    assert is_synced(sqlite)
    await sqlite.heartbeat(run.run_id, 1, None, 1)
    assert not is_synced(sqlite)
    await asyncio.gather(sqlite.heartbeat(run.run_id, 1, None, 2), sqlite.send(message()))
    assert is_synced(sqlite)


async def test_calls_that_change_nothing_are_no_commits(sqlite, commits):
    before = len(commits)
    assert await sqlite.claim("worker", ["order"], ["default"], 10, 10**16) == []
    assert await sqlite.take_over(0) == 0
    assert len(commits) == before


# -- the end ----------------------------------------------------------------------------------------------


def test_writer_ends_when_the_event_loop_is_gone(path):
    async def open_only() -> SqliteStore:
        store = SqliteStore(path)
        await store.open()
        return store

    store = asyncio.run(open_only())
    writer_thread = store._parts.writer._thread
    store._parts.writer.submit(Commit([], lambda outcomes: None))
    writer_thread.join(timeout=20)
    assert not writer_thread.is_alive()
    store._parts.checkpointer.stop()
    store._parts.writer.stop()
