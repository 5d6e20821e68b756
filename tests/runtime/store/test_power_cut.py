"""Power cuts: whatever was acknowledged is there afterwards, whole, and nothing else is half there.

The store's own schema, settings, statements and code write through apsw to a disk that remembers everything. Then the
power is cut at its syncs and in between, with unsynced writes lost, kept or torn at random, and the store opens what is
left. It must find the state after the last acknowledged transaction, or after the one that was under way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest
from conformance.build import COMPLETED, STARTED, T0, ended, message, new_run
from power_disk import Disk, Entry, after_power_cut

from durable.history import Fact, Recorder, verify_chain
from runtime.store.row import RunFilter
from runtime.store.sqlite import SqliteStore
from runtime.store.sqlite.connection import _WRITER
from runtime.store.sqlite.delivery import send
from runtime.store.sqlite.migration import _check_and_migrate
from runtime.store.sqlite.ownership import claim
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.start import start
from runtime.store.sqlite.turn import write_turn
from runtime.store.turn import RunChange, Turn

pytestmark = pytest.mark.anyio

State = tuple[tuple[str, int, int], ...]
"""Of every run: its id, its last event, and how many facts wait for it."""


class ApswConnection:
    """What the store uses of ``sqlite3.Connection``, by apsw."""

    def __init__(self, path: str, vfs: str) -> None:
        self._connection = apsw.Connection(path, vfs=vfs)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> apsw.Cursor:
        return self._connection.execute(sql, tuple(parameters))

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        self._connection.close()


class Workload:
    """Runs that start, get messages, take turns and end, in transactions of different sizes, between checkpoints.

    Attributes:
        states: after each transaction, by its number.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.random = Random(0)
        self.states: list[State] = [()]
        self.recorders: dict[str, Recorder] = {}
        self.connection: Any = ApswConnection("/durable.db", disk.name)
        self.connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # a VFS in Python has no shared memory
        for setting in _WRITER:
            self.connection.execute(setting)
        _check_and_migrate(self.connection, Path("/durable.db"))
        disk.mark("0")

    def play(self, transactions: int) -> None:
        session = Session(self.connection)
        for number in range(1, transactions + 1):
            self.connection.execute("BEGIN IMMEDIATE")
            session.begin()
            for _ in range(self.random.choice([1, 1, 2, 20])):
                self._do_something(session)
            session.flush()
            self.states.append(read_state(self.connection))
            self.connection.execute("COMMIT")
            self.disk.mark(str(number))
            if number % 7 == 0:
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self.connection.close()

    def _do_something(self, session: Session) -> None:
        number = len(self.recorders)
        choice = self.random.random()
        if choice < 0.3 or not number:
            new = new_run(f"w{number}", run_id=f"run{number}")
            start(session, new, None)
            [claimed] = claim(session, "worker", ["order"], ["default"], 1, T0)
            self.recorders[new.run_id] = Recorder()
            self._turn(session, number, [STARTED], consumed=[row.row_id for row in claimed.inbox])
            return
        chosen = self.random.randrange(number)
        if choice < 0.5:
            run = session.run(f"run{chosen}")
            if run is not None and not run.status.is_closed:
                send(session, message(f"w{chosen}", message_id=str(self.random.random())), None)
        else:
            size = self.random.choice([10, 200, 6_000])
            facts = [Fact("StepScheduled", 1, "charge", payload="x" * size), Fact("StepCompleted", 1)]
            self._turn(session, chosen, facts)

    def _turn(self, session: Session, number: int, facts: list[Fact], **fields: Any) -> None:
        run = session.run(f"run{number}")
        assert run is not None
        if run.status.is_closed:
            return
        is_last = self.random.random() < 0.1
        recorder = self.recorders[run.run_id]
        expected_seq = recorder.seq
        recorder.begin_batch(T0)
        events = [
            recorder.append(kind, "worker", command, name, detail, payload)
            for kind, command, name, detail, payload, _ in [*facts, *([COMPLETED] if is_last else [])]
        ]
        change = ended() if is_last else RunChange(run.status, waiting_for=f"step {expected_seq}")
        turn = Turn(run.run_id, run.workflow_id, expected_seq, run.epoch, events, change, **fields)
        assert write_turn(session, turn) is None


def read_state(connection: Any) -> State:
    rows = connection.execute("SELECT run_id, seq, unread FROM durable_run_rows WHERE TRUE ORDER BY key")
    return tuple(tuple(row) for row in rows.fetchall())


@pytest.fixture(scope="module")
def workload() -> Iterator[Workload]:
    disk = Disk("power")
    played = Workload(disk)
    played.play(60)
    yield played
    disk.unregister()


def last_acknowledged(log: Sequence[Entry]) -> int | None:
    marks = [entry.name for entry in log if entry.what == "mark"]
    return int(marks[-1]) if marks else None


async def check_what_is_left(workload: Workload, cut: int, random: Random, folder: Path) -> None:
    """Cut the power after so many entries of the log, and open what is left."""
    log = workload.disk.log[:cut]
    folder.mkdir()
    for name, content in after_power_cut(log, random).items():
        (folder / name.removeprefix("/")).write_bytes(content)
    acknowledged = last_acknowledged(log)
    allowed = workload.states[acknowledged : acknowledged + 2] if acknowledged is not None else [()]
    store = SqliteStore(folder / "durable.db")
    await store.open()
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert read_state(connection) in allowed, f"cut {cut}, acknowledged {acknowledged}"
    runs, _ = await store.list_runs(RunFilter(), 1_000)
    for run in runs:
        history = await store.read_history(run.run_id)
        verify_chain(history)
        assert len(history) == run.seq
    assert (await store.start(new_run("afterwards"))).created
    await store.close()


def syncs(workload: Workload) -> list[int]:
    """Where the power is cut just before and just after a sync."""
    places = [place for place, entry in enumerate(workload.disk.log) if entry.what == "sync"]
    return sorted({cut for place in places for cut in (place, place + 1)})


async def test_power_cut_at_any_sync_loses_nothing_acknowledged(workload, tmp_path):
    cuts = syncs(workload)
    assert len(cuts) > 120
    for cut in cuts[:12] + cuts[12::4]:
        await check_what_is_left(workload, cut, Random(cut), tmp_path / str(cut))


async def test_power_cut_between_syncs_loses_nothing_acknowledged(workload, tmp_path):
    random = Random(1)
    for trial in range(40):
        await check_what_is_left(workload, random.randrange(len(workload.disk.log)), random, tmp_path / str(trial))


async def test_power_cut_after_the_end_loses_nothing(workload, tmp_path):
    await check_what_is_left(workload, len(workload.disk.log), Random(0), tmp_path / "end")


@pytest.mark.slow
async def test_power_cut_anywhere_loses_nothing_acknowledged(workload, tmp_path):
    for cut in range(len(workload.disk.log)):
        await check_what_is_left(workload, cut, Random(cut), tmp_path / str(cut))


async def test_disk_without_syncs_would_be_noticed(workload, tmp_path):
    """The test itself: with every sync taken out of the log, acknowledged transactions do get lost."""
    lost = 0
    for cut in range(len(workload.disk.log) // 2, len(workload.disk.log), 40):
        log = [entry for entry in workload.disk.log[:cut] if entry.what != "sync"]
        folder = tmp_path / str(cut)
        folder.mkdir()
        for name, content in after_power_cut(log, Random(cut)).items():
            (folder / name.removeprefix("/")).write_bytes(content)
        acknowledged = last_acknowledged(log)
        assert acknowledged is not None
        try:
            with closing(sqlite3.connect(folder / "durable.db")) as connection:
                lost += read_state(connection) not in workload.states[acknowledged : acknowledged + 2]
        except sqlite3.Error:
            lost += 1
    assert lost > 0
