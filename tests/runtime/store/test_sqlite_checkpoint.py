"""Checkpoints: beside commits, one at a time, and never of a log that may be copied already."""

import os
import sqlite3
import threading
from contextlib import closing

import pytest
from conformance.build import STARTED, begin, new_run
from store_until import until

from durable.history import Fact, verify_chain
from runtime.store.sqlite import SqliteStore, checkpoint
from runtime.store.sqlite.checkpoint import Checkpointer
from runtime.store.sqlite.clock import boot_ns
from runtime.store.sqlite.lease import folder_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def copies(monkeypatch) -> list[int | None]:
    """What every attempt to copy the log returned."""
    seen: list[int | None] = []
    copy = Checkpointer._copy

    def note(self: Checkpointer) -> int | None:
        seen.append(copy(self))
        return seen[-1]

    monkeypatch.setattr(Checkpointer, "_copy", note)
    return seen


async def write_much(store: SqliteStore, turns: int, size: int = 3_000) -> str:
    author = await begin(store)
    await author.commit(STARTED, consumed=author.row_ids)
    for number in range(turns):
        await author.commit(Fact("StepScheduled", number, "charge", payload="x" * size))
    return author.run.run_id


async def test_log_is_copied_while_commits_go_on_and_starts_over(sqlite, monkeypatch, copies):
    monkeypatch.setattr(checkpoint, "_PAGES", 20)
    monkeypatch.setattr(checkpoint, "_LARGE_PAGES", 60)
    sqlite._parts.checkpointer._due = 1
    run_id = await write_much(sqlite, 600)
    assert len([pages for pages in copies if pages]) > 5
    log = sqlite.path.with_name(f"{sqlite.path.name}-wal")
    assert log.stat().st_size < 600 * 2 * 4096
    history = await sqlite.read_history(run_id)
    assert len(history) == 601
    verify_chain(history)


async def test_nothing_is_copied_without_proof_of_a_commit_after_the_last_copy(sqlite):
    checkpointer = sqlite._parts.checkpointer
    await sqlite.start(new_run())
    assert checkpointer._copy() is not None
    assert checkpointer._copy() is None
    await sqlite.start(new_run("more"))
    assert checkpointer._copy() is not None


async def test_copies_of_other_processes_count(sqlite, path):
    other = SqliteStore(path)
    await other.open()
    await sqlite.start(new_run())
    await other.start(new_run("more"))
    assert other._parts.checkpointer._copy() is not None
    assert sqlite._parts.checkpointer._copy() is None
    await other.close()


async def test_record_from_before_a_reboot_does_not_stop_copies(sqlite, path):
    folder = folder_of(path)
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint.lock").write_text(f"{boot_ns() + 10**15:020d}")
    await sqlite.start(new_run())
    assert sqlite._parts.checkpointer._copy() is not None


async def test_copying_goes_on_after_a_fault_of_the_disk(sqlite, monkeypatch, copies):
    checkpointer = sqlite._parts.checkpointer
    checkpointer.stop()
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", _no_space)
    await sqlite.start(new_run())
    checkpointer._copy_and_plan()
    assert copies == []
    monkeypatch.setattr(os, "pwrite", pwrite)
    await sqlite.start(new_run("more"))
    checkpointer._copy_and_plan()
    assert len(copies) == 1
    assert copies[0]
    checkpointer.stop()


def _no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")


async def test_large_log_is_copied_while_commits_are_held(sqlite, monkeypatch, copies):
    monkeypatch.setattr(checkpoint, "_LARGE_PAGES", 1)
    checkpointer = sqlite._parts.checkpointer
    checkpointer.stop()
    await sqlite.start(new_run())
    checkpointer._copy_and_plan()
    assert checkpointer._is_large
    await sqlite.start(new_run("more"))
    with checkpointer._mutex:
        held = threading.Thread(target=checkpointer._copy_and_plan)
        held.start()
        assert len(copies) == 1
    held.join()
    assert len(copies) == 2
    assert not checkpointer._is_large
    checkpointer.stop()


async def test_checkpointer_wakes_after_enough_commits(path, monkeypatch, copies):
    monkeypatch.setattr(checkpoint, "_FIRST_COMMITS", 3)
    store = SqliteStore(path)
    await store.open()
    for number in range(3):
        await store.start(new_run(f"w{number}"))
    await until(lambda: len(copies) > 0)
    await store.close()


async def test_everything_is_in_the_file_after_close(path, monkeypatch):
    store = SqliteStore(path)
    await store.open()
    run_id = await write_much(store, 50)
    await store.close()
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        count = connection.execute(
            "SELECT count(*) FROM durable_events JOIN durable_runs ON key = run_key WHERE run_id = ?", (run_id,)
        )
        assert count.fetchone() == (51,)
