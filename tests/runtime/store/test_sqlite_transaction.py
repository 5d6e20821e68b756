"""Transactional steps: the step's writes and its completion are one transaction, or nothing is (rule D4)."""

import asyncio
import itertools
import sqlite3
import threading
import time
from contextlib import closing

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from conformance.build import STARTED, begin, commit, ended, kinds, message, new_run, outcome
from store_until import until

from durable.errors import ConflictError, StepTimeoutError, StoreError, StoreUnavailableError
from durable.history import EventKind
from runtime.store.change import Change
from runtime.store.protocol import Transaction, TransactionalStore
from runtime.store.row import RunRow
from runtime.store.sqlite import SqliteStore
from runtime.store.sqlite.transaction import SqliteTransaction

pytestmark = pytest.mark.anyio

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


@pytest.fixture
async def run(sqlite: SqliteStore) -> RunRow:
    """A run whose step may begin, and a table of the user's."""
    author = await begin(sqlite)
    row = await author.commit(STARTED, consumed=author.row_ids)
    async with sqlite.transaction(row.run_id, row.epoch) as transaction:
        transaction.connection.execute("CREATE TABLE account (balance INTEGER)")
        transaction.complete(outcome(row, 100))
    return row


def balances(sqlite: SqliteStore) -> list[int]:
    with closing(sqlite3.connect(sqlite.path)) as connection:
        return [balance for (balance,) in connection.execute("SELECT balance FROM account")]


def deposit(transaction: Transaction, balance: int = 1) -> None:
    transaction.connection.execute("INSERT INTO account VALUES (?)", (balance,))


def test_sqlite_store_is_a_transactional_store():
    store: TransactionalStore = SqliteStore("x.db")
    assert store is not None


async def test_writes_and_outcome_commit_together(sqlite, run):
    async with sqlite.transaction(run.run_id, run.epoch) as transaction:
        deposit(transaction)
        transaction.complete(outcome(run, 1), {"h1": b"one"})
        assert balances(sqlite) == []
    assert balances(sqlite) == [1]
    inbox = await sqlite.read_inbox(run.run_id)
    assert [(row.fact.kind, row.fact.command) for row in inbox] == [
        (EventKind.STEP_COMPLETED, 100),
        (EventKind.STEP_COMPLETED, 1),
    ]
    assert (await sqlite.get_run("w")).ready_at_us is not None


async def test_blob_of_the_outcome_commits_with_it(sqlite, run):
    async with sqlite.transaction(run.run_id, run.epoch) as transaction:
        transaction.complete(outcome(run, 1, payload='{"v":1,"blob":"h1"}'), {"h1": b"one"})
    assert await sqlite.read_blobs(run.run_id) == {"h1": b"one"}


async def test_step_that_raises_writes_nothing(sqlite, run):
    with pytest.raises(ZeroDivisionError):
        async with sqlite.transaction(run.run_id, run.epoch) as transaction:
            deposit(transaction)
            transaction.complete(outcome(run, 1))
            _ = 1 / 0
    assert balances(sqlite) == []
    assert len(await sqlite.read_inbox(run.run_id)) == 1


async def test_transaction_without_an_outcome_is_rolled_back(sqlite, run):
    async with sqlite.transaction(run.run_id, run.epoch) as transaction:
        deposit(transaction)
    assert balances(sqlite) == []


async def test_second_outcome_of_a_step_is_refused_with_its_writes(sqlite, run):
    for expected in ([1], [1]):
        try:
            async with sqlite.transaction(run.run_id, run.epoch) as transaction:
                deposit(transaction)
                transaction.complete(outcome(run, 1))
        except ConflictError as error:
            assert "has its outcome already" in str(error)
        assert balances(sqlite) == expected


async def test_outcome_for_another_epoch_is_refused(sqlite, run):
    with pytest.raises(ConflictError, match="another owner"):
        async with sqlite.transaction(run.run_id, run.epoch + 1) as transaction:
            deposit(transaction)
            transaction.complete(outcome(run, 1))
    assert balances(sqlite) == []


async def test_outcome_for_a_run_that_was_fenced_off_meanwhile_is_refused(sqlite, run, path):
    await sqlite.take_over(run.created_at_us)
    with pytest.raises(ConflictError, match="another owner"):
        async with sqlite.transaction(run.run_id, run.epoch) as transaction:
            deposit(transaction)
            transaction.complete(outcome(run, 1))
    assert balances(sqlite) == []


async def test_outcome_for_a_closed_run_is_refused(sqlite):
    author = await begin(sqlite)
    run = await author.commit(STARTED, consumed=author.row_ids, change=ended())
    with pytest.raises(ConflictError, match="completed"):
        async with sqlite.transaction(run.run_id, run.epoch) as transaction:
            transaction.complete(outcome(run, 1))


async def test_settings_of_the_step_do_not_reach_the_store(sqlite, run):
    async with sqlite.transaction(run.run_id, run.epoch) as transaction:
        transaction.connection.row_factory = sqlite3.Row
        transaction.connection.text_factory = bytes
        deposit(transaction)
        transaction.complete(outcome(run, 1))
    assert balances(sqlite) == [1]


# -- what a step may not do -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "DELETE FROM durable_runs",
        "UPDATE durable_heads SET epoch = 7",
        "INSERT INTO durable_lanes (workflow, queue) VALUES ('a', 'b')",
        "DROP TABLE durable_events",
        "ALTER TABLE durable_runs ADD COLUMN more TEXT",
        "CREATE INDEX more ON durable_runs (reason)",
        "CREATE TRIGGER more AFTER INSERT ON durable_events BEGIN SELECT 1; END",
        "PRAGMA journal_mode = DELETE",
        "ATTACH DATABASE ':memory:' AS other",
    ],
)
async def test_step_cannot_touch_the_store_or_its_transaction(sqlite, run, statement):
    with pytest.raises(sqlite3.DatabaseError, match="not authorized") as caught:
        async with sqlite.transaction(run.run_id, run.epoch) as transaction:
            deposit(transaction)
            transaction.connection.execute(statement)
    assert "inside a transactional step the connection cannot" in caught.value.__notes__[0]
    assert balances(sqlite) == []
    assert (await sqlite.get_run("w")).run_id == run.run_id


async def test_step_may_read_the_store_and_use_savepoints(sqlite, run):
    async with sqlite.transaction(run.run_id, run.epoch) as transaction:
        connection = transaction.connection
        assert connection.execute("SELECT status FROM workflows").fetchall() == [("running",)]
        assert connection.execute("PRAGMA table_info(account)").fetchall()
        connection.execute("SAVEPOINT s")
        deposit(transaction)
        connection.execute("ROLLBACK TO s")
        transaction.complete(outcome(run, 1))
    assert balances(sqlite) == []


@pytest.mark.parametrize("method", ["commit", "rollback"])
async def test_step_cannot_end_its_transaction_by_method(sqlite, run, method):
    with pytest.raises(StoreError, match="transactional step cannot"):
        async with sqlite.transaction(run.run_id, run.epoch) as transaction:
            getattr(transaction.connection, method)()


async def test_calls_of_the_store_from_inside_raise_instead_of_waiting_for_ever(sqlite, run):
    async with sqlite.transaction(run.run_id, run.epoch) as transaction:
        with pytest.raises(StoreError, match="transactional step cannot use the store"):
            await sqlite.send(message())
        with pytest.raises(StoreError, match="transactional step cannot use the store"):
            async with sqlite.transaction(run.run_id, run.epoch):
                raise AssertionError
        other = SqliteStore(sqlite.path)
        deposit(transaction)
        transaction.complete(outcome(run, 1))
    await other.open()
    await other.close()
    await sqlite.send(message())


async def test_calls_from_a_childs_task_or_thread_raise_as_well(sqlite, run):
    errors: list[str] = []

    async def send() -> None:
        try:
            await sqlite.send(message())
        except StoreError as error:
            errors.append(str(error))

    async with sqlite.transaction(run.run_id, run.epoch):
        async with anyio.create_task_group() as group:
            group.start_soon(send)
        await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(send))
    assert len(errors) == 2


# -- the others meanwhile ---------------------------------------------------------------------------------


async def test_commits_wait_for_the_transaction_and_go_on_after_it(sqlite, run):
    others = await begin(sqlite, "other")
    outcomes: list[object] = []
    async with sqlite.transaction(run.run_id, run.epoch) as transaction:
        sqlite.commit([others.turn(STARTED)], outcomes.extend)
        deposit(transaction)
        transaction.complete(outcome(run, 1))
        assert outcomes == []
    await until(lambda: outcomes == [None])


async def test_heartbeat_from_inside_is_kept_afterwards(sqlite, run):
    async with anyio.create_task_group() as group, sqlite.transaction(run.run_id, run.epoch) as transaction:
        group.start_soon(sqlite.heartbeat, run.run_id, 2, '"half"', 7)
        await anyio.lowlevel.checkpoint()
        transaction.complete(outcome(run, 1))
    assert await sqlite.read_heartbeat(run.run_id, 2) == (7, '"half"')


async def test_transactions_take_turns(sqlite, run):
    async def work(command: int) -> None:
        async with sqlite.transaction(run.run_id, run.epoch) as transaction:
            [(count,)] = transaction.connection.execute("SELECT count(*) FROM account").fetchall()
            await anyio.lowlevel.checkpoint()
            deposit(transaction, count)
            transaction.complete(outcome(run, command))

    async with anyio.create_task_group() as group:
        for command in range(1, 60):
            group.start_soon(work, command)
    assert balances(sqlite) == list(range(59))


async def test_listeners_hear_what_the_transaction_changed(sqlite, run):
    heard: list[Change] = []
    sqlite.listen(heard.append)
    async with sqlite.transaction(run.run_id, run.epoch) as transaction:
        transaction.complete(outcome(run, 1))
    assert any(change.ready and change.closed == frozenset() for change in heard)


async def test_transaction_waits_for_a_lock_as_long_as_writes_do(path):
    store = SqliteStore(path, wait_seconds=0.05)
    await store.open()
    author = await begin(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError):
            async with store.transaction(author.run.run_id, author.run.epoch):
                raise AssertionError
        other.execute("ROLLBACK")
    assert await commit(store, author.turn(STARTED)) == [None]
    await store.close()


# -- the limit --------------------------------------------------------------------------------------------


async def test_statement_that_runs_too_long_is_interrupted_and_rolled_back(sqlite, run):
    with pytest.raises(StepTimeoutError, match=r"took longer than 0\.05 s"):
        async with sqlite.transaction(run.run_id, run.epoch, timeout=0.05) as transaction:
            connection = transaction.connection
            deposit(transaction)
            transaction.complete(outcome(run, 1))
            await asyncio.get_running_loop().run_in_executor(None, connection.execute, ENDLESS)
    assert balances(sqlite) == []
    await sqlite.send(message())


async def test_step_that_does_not_stop_loses_its_connection_and_holds_up_nobody(sqlite, run):
    sent = anyio.Event()

    async def send() -> None:
        await sqlite.send(message())
        sent.set()

    def work(connection: sqlite3.Connection) -> None:
        while True:
            connection.execute("INSERT INTO account VALUES (1)")
            time.sleep(0.001)

    async with anyio.create_task_group() as group:
        with pytest.raises(StepTimeoutError):
            async with sqlite.transaction(run.run_id, run.epoch, timeout=0.05) as transaction:
                transaction.complete(outcome(run, 1))
                with pytest.raises(sqlite3.DatabaseError):
                    await anyio.to_thread.run_sync(work, transaction.connection)
        group.start_soon(send)
        with anyio.fail_after(20):
            await sent.wait()
    assert balances(sqlite) == []
    with pytest.raises(StoreError, match="has ended"):
        _ = transaction.connection


async def test_half_read_cursor_does_not_keep_the_transaction_from_its_end(sqlite, run):
    with pytest.raises(StepTimeoutError):
        async with sqlite.transaction(run.run_id, run.epoch, timeout=0.05) as transaction:
            deposit(transaction)
            cursor = transaction.connection.execute("SELECT 1 UNION ALL SELECT 2")
            assert cursor.fetchone() == (1,)
            await anyio.sleep_forever()
    with pytest.raises(sqlite3.ProgrammingError):
        cursor.fetchone()
    assert balances(sqlite) == []
    await sqlite.send(message())


async def test_step_that_prepares_statements_is_ended_as_well(sqlite, run):
    def work(connection: sqlite3.Connection) -> None:
        for number in itertools.count():
            connection.execute(f"INSERT INTO account VALUES (?) -- {number}", (number,))

    for _ in range(5):
        with pytest.raises(StepTimeoutError):
            async with sqlite.transaction(run.run_id, run.epoch, timeout=0.02) as transaction:
                await anyio.to_thread.run_sync(work, transaction.connection)
    assert balances(sqlite) == []


async def test_step_that_only_waits_is_cancelled(sqlite, run):
    with pytest.raises(StepTimeoutError):
        async with sqlite.transaction(run.run_id, run.epoch, timeout=0.05):
            await anyio.sleep_forever()
    await sqlite.send(message())


@pytest.mark.parametrize("moment", ["begin", "commit", "end"])
async def test_step_that_is_cancelled_while_its_thread_works_lets_go(sqlite, run, monkeypatch, moment):
    """By the task itself, which no shield of anyio holds up."""
    reached, may_go_on = threading.Event(), threading.Event()
    method = getattr(SqliteTransaction, moment)

    def slowly(self: SqliteTransaction, *args: object) -> object:
        if not reached.is_set():
            reached.set()
            may_go_on.wait(20)
        return method(self, *args)

    monkeypatch.setattr(SqliteTransaction, moment, slowly)

    async def work() -> None:
        async with sqlite.transaction(run.run_id, run.epoch) as transaction:
            deposit(transaction)
            transaction.complete(outcome(run, 1))

    working = asyncio.ensure_future(work())
    await anyio.to_thread.run_sync(reached.wait)
    working.cancel()
    await asyncio.sleep(0)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert balances(sqlite) == ([] if moment == "begin" else [1])
    with anyio.fail_after(20):
        await sqlite.send(message())


async def test_cancelled_step_lets_go(sqlite, run):
    with anyio.move_on_after(0.05):
        async with sqlite.transaction(run.run_id, run.epoch) as transaction:
            deposit(transaction)
            await anyio.sleep_forever()
    assert balances(sqlite) == []
    assert "SignalReceived" in kinds([*await _sent_inbox(sqlite, run)])


async def test_step_that_is_cancelled_while_it_waits_for_its_turn_gives_it_back(sqlite, run):
    async def use() -> None:
        async with sqlite.transaction(run.run_id, run.epoch):
            raise AssertionError

    mutex = sqlite._opened().transactions._mutex
    mutex.acquire()
    waiting = asyncio.ensure_future(use())
    await until(lambda: len(mutex._waiting) == 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    mutex.release()
    await sqlite.send(message())


async def test_time_that_is_up_just_before_the_commit_is_told_as_such(sqlite, run):
    with pytest.raises(StepTimeoutError):
        async with sqlite.transaction(run.run_id, run.epoch, timeout=60) as transaction:
            transaction.complete(outcome(run, 1))
            assert transaction.end()  # as its timer does
    assert len(await sqlite.read_inbox(run.run_id)) == 1


async def _sent_inbox(sqlite, run):
    await sqlite.send(message())
    return await sqlite.read_inbox(run.run_id)


async def test_new_run_may_start_right_after(sqlite, run):
    async with sqlite.transaction(run.run_id, run.epoch) as transaction:
        transaction.complete(outcome(run, 1))
    assert (await sqlite.start(new_run("next"))).created
