"""What becomes of a file that is opened as a store."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from conformance.build import new_run

from durable.errors import StoreError, StoreFormatError
from runtime.store.sqlite import SqliteStore, migration
from runtime.store.sqlite.connection import connect_as, connect_writer
from runtime.store.sqlite.migration import APPLICATION_ID, migrations, statements

pytestmark = pytest.mark.anyio


async def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    await store.open()
    return store


def make_database(path: Path, *statements: str) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path.read_bytes()


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A directory that any user can reach; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Nobody in particular, because permissions mean nothing to root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


async def test_open_creates_missing_directories(tmp_path):
    store = await opened(tmp_path / "a" / "b" / "durable.db")
    await store.start(new_run())
    await store.close()
    assert (tmp_path / "a" / "b" / "durable.db").is_file()


async def test_open_marks_the_file_as_ours_and_of_this_version(path):
    await (await opened(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(migrations()),)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_open_twice_and_again_after_close_keeps_everything(path):
    store = await opened(path)
    await store.open()
    await store.start(new_run())
    await store.close()
    await store.close()
    await store.open()
    assert (await store.get_run("w")).workflow_id == "w"
    await store.close()


async def test_many_open_a_new_file_at_once(path):
    stores = [SqliteStore(path) for _ in range(8)]
    async with anyio.create_task_group() as group:
        for store in stores:
            group.start_soon(store.open)
    for number, store in enumerate(stores):
        await store.start(new_run(f"w{number}"))
    for store in stores:
        await store.close()


def test_processes_that_create_the_same_files_at_once_wait_for_one_another(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom runtime.store.sqlite.migration import prepare\n"
        "print(flush=True)\nsys.stdin.readline()\n"
        "for number in range(60): prepare(Path(sys.argv[1], f'{number}.db'), 60.0)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0, 0]


def test_a_lock_that_sqlite_does_not_wait_for_is_waited_for(path, monkeypatch):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(migration, "sleep", lambda seconds: other.execute("ROLLBACK"))
        migration.prepare(path, 60.0)
        assert not other.in_transaction
    with closing(connect_writer(path)) as connection:
        assert migration.check(connection, path) == len(migrations())


def test_a_file_that_another_creates_while_it_is_looked_at_is_not_taken_for_a_strangers(path):
    class Interrupted(sqlite3.Connection):
        """A connection in the middle of whose reading another program creates the store."""

        def execute(self, sql, parameters=(), /):
            found = super().execute(sql, parameters)
            if sql == "PRAGMA application_id":
                migration.prepare(path, 0.0)
            return found

    make_database(path, "PRAGMA journal_mode = WAL")
    with closing(connect_as(Interrupted, path)) as connection:
        assert migration.check(connection, path) == 0
    with closing(connect_writer(path)) as connection:
        assert migration.check(connection, path) == len(migrations())


async def test_close_leaves_one_file_and_no_log(path):
    store = await opened(path)
    await store.start(new_run())
    await store.get_run("w")
    await store.close()
    assert sorted(found.name for found in path.parent.iterdir() if found.is_file()) == [path.name]


async def test_use_before_open_or_after_close_says_so(path):
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="not open"):
        await store.start(new_run())
    with pytest.raises(StoreError, match="not open"):
        await store.get_run("w")
    await store.open()
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        await store.get_run("w")


async def test_open_refuses_what_is_no_database(path):
    path.write_text("This is a poem about a database.\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreFormatError, match="is not a database"):
        await opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE customers (id INTEGER)", "PRAGMA application_id = 1", "PRAGMA user_version = 7"],
)
async def test_open_refuses_the_database_of_another_program(path, statement):
    before = make_database(path, statement)
    with pytest.raises(StoreFormatError, match="another program"):
        await opened(path)
    assert path.read_bytes() == before


async def test_open_refuses_a_newer_schema(path):
    await (await opened(path)).close()
    newer = len(migrations()) + 1
    before = make_database(path, f"PRAGMA user_version = {newer}")
    with pytest.raises(StoreFormatError, match=f"schema {newer}.*upgrade"):
        await opened(path)
    assert path.read_bytes() == before


async def test_open_adopts_an_empty_file(path):
    path.touch()
    store = await opened(path)
    assert (await store.start(new_run())).created
    await store.close()


async def test_open_runs_only_the_migrations_that_are_missing(path, monkeypatch):
    await (await opened(path)).close()
    known = migrations()
    monkeypatch.setattr(
        migration,
        "migrations",
        lambda: [*known, "CREATE TABLE durable_more (a);\nINSERT INTO durable_more VALUES (1);"],
    )
    await (await opened(path)).close()
    await (await opened(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT a FROM durable_more").fetchall() == [(1,)]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(known) + 1,)


async def test_failed_migration_leaves_the_old_schema(path, monkeypatch):
    await (await opened(path)).close()
    known = migrations()
    monkeypatch.setattr(migration, "migrations", lambda: [*known, "CREATE TABLE durable_more (a);\nNONSENSE;"])
    with pytest.raises(StoreError):
        await opened(path)
    monkeypatch.undo()
    store = await opened(path)
    assert (await store.start(new_run())).created
    await store.close()


async def test_open_refuses_a_directory(tmp_path):
    with pytest.raises(StoreError, match="is a directory"):
        await opened(tmp_path)


async def test_open_says_which_directory_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create the directory"):
        await opened(tmp_path / "file" / "durable.db")


async def test_open_in_a_read_only_directory_says_what_to_do(shared_folder, ordinary_user):
    with pytest.raises(StoreError, match="write permission"):
        await opened(shared_folder / "durable.db")


async def test_open_of_a_read_only_database_says_what_to_do(shared_folder):
    path = shared_folder / "durable.db"
    await (await opened(path)).close()
    path.chmod(0o444)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match="write permission"):
            await opened(path)
    finally:
        os.seteuid(user)


async def test_open_of_an_unreadable_database_says_what_to_do(shared_folder):
    path = shared_folder / "durable.db"
    await (await opened(path)).close()
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match="write permission"):
            await opened(path)
    finally:
        os.seteuid(user)


async def test_open_needs_a_recent_sqlite(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(StoreError, match="or newer is needed"):
        await opened(path)


async def test_open_does_not_wait_for_who_writes(path):
    await (await opened(path)).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store = await opened(path)
        assert await store.get_run("w") is None
        other.execute("ROLLBACK")
    await store.close()


async def test_open_waits_for_who_creates_the_database(path):
    store = SqliteStore(path, wait_seconds=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            await store.open()
        other.execute("ROLLBACK")
    await store.open()
    await store.close()


def test_migrations_are_numbered_without_gaps():
    folder = Path(migration.__file__).parent / "migrations"
    numbers = [int(file.name.partition("_")[0]) for file in sorted(folder.glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1)) == list(range(1, len(migrations()) + 1))


def test_statements_are_split_at_their_ends_only():
    script = "-- one; two\nCREATE TABLE a (b TEXT DEFAULT ';');\n\nINSERT INTO a VALUES ('x;\ny');\n"
    assert [len(statement) > 0 for statement in statements(script)] == [True, True]


async def test_damaged_file_is_reported_as_damaged(path):
    store = await opened(path)
    await store.start(new_run())
    await store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreFormatError, match="damaged"):
        store = await opened(path)
