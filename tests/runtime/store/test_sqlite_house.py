"""Copies and deletions that only a file has."""

import sqlite3
from contextlib import closing

import anyio
import anyio.lowlevel
import pytest
from conformance.build import LATER, STARTED, T0, begin, begin_closed, begin_waiting, ended, new_run

from durable.errors import StoreError
from durable.handle import RunStatus
from durable.history import Fact, verify_chain
from runtime.store.row import RunFilter
from runtime.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


async def test_backup_can_be_opened_and_holds_everything(sqlite, tmp_path):
    author = await begin_waiting(sqlite)
    await sqlite.backup(tmp_path / "copy.db")
    copy = SqliteStore(tmp_path / "copy.db")
    await copy.open()
    assert await copy.get_run("w") == await sqlite.get_run("w")
    verify_chain(await copy.read_history(author.run.run_id))
    assert (await copy.start(new_run("more"))).created
    assert await sqlite.get_run("more") is None
    await copy.close()


async def test_backup_while_others_write_is_of_one_moment(sqlite, tmp_path):
    author = await begin(sqlite)
    await author.commit(STARTED)
    is_over = False

    async def write() -> None:
        number = 0
        while not is_over:
            number += 1
            await author.commit(Fact("StepScheduled", number, "charge", payload="x" * 2_000))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        for number in range(5):
            await sqlite.backup(tmp_path / f"copy{number}.db")
        is_over = True
    for number in range(5):
        copy = SqliteStore(tmp_path / f"copy{number}.db")
        await copy.open()
        history = await copy.read_history(author.run.run_id)
        verify_chain(history)
        assert (await copy.get_run("w")).seq == len(history)
        await copy.close()


async def test_backup_overwrites_nothing(sqlite, tmp_path):
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(StoreError, match="exists"):
        await sqlite.backup(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"


async def test_backup_into_a_missing_directory_says_so(sqlite, tmp_path):
    with pytest.raises(StoreError, match="cannot write"):
        await sqlite.backup(tmp_path / "missing" / "copy.db")


async def test_failed_backup_leaves_nothing(sqlite, tmp_path, path):
    for file in list(path.parent.glob("durable.db*")):
        if file.is_file():
            file.unlink()
    with pytest.raises(StoreError, match="cannot back up"):
        await sqlite.backup(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


async def test_purge_leaves_no_row_of_a_run_behind(sqlite):
    for number in range(3):
        await begin_closed(sqlite, f"w{number}", closed_at_us=T0 + number)
    assert await sqlite.purge(LATER, 2) == 2
    assert await sqlite.purge(LATER, 2) == 1
    assert await sqlite.purge(LATER, 2) == 0
    with closing(sqlite3.connect(sqlite.path)) as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            if name.startswith("durable_") and name != "durable_lanes"
        ]
        assert len(tables) > 15
        assert [name for name in tables if connection.execute(f"SELECT 1 FROM {name}").fetchone()] == []


async def test_purged_id_may_be_used_again_by_the_same_process(sqlite):
    await begin_closed(sqlite)
    assert not (await sqlite.start(new_run())).created
    assert await sqlite.purge(LATER, 10) == 1
    assert (await sqlite.start(new_run())).created


async def test_keys_of_purged_runs_do_not_mix_up_new_ones(sqlite):
    await begin_closed(sqlite, "a")
    last = await begin_closed(sqlite, "b")
    assert await sqlite.purge(LATER, 10) == 2
    author = await begin(sqlite, "c")
    run = await author.commit(STARTED, change=ended(RunStatus.FAILED))
    rows, _ = await sqlite.list_runs(RunFilter(), 10)
    assert [row.run_id for row in rows] == [run.run_id]
    assert await sqlite.read_history(last.run.run_id) == []
