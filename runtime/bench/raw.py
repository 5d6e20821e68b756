"""The raw limit of SQLite: the rows of a durable step through the same driver, without the engine."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import perf_counter

from runtime.store.sqlite.migration import prepare

_RUN = (
    "INSERT INTO durable_runs (key, run_id, workflow_id, workflow, queue, status, rollback, created_at_us, on_parent_close, input_digest, actor)"
    " VALUES (?, ?, ?, 'w', 'default', 'running', 'none', 0, 'terminate', '', 'a')"
)
_HEAD = "INSERT INTO durable_heads (key, seq, epoch, lane, lost) VALUES (?, 0, 1, 1, 0)"
_START = (
    "INSERT INTO durable_inbox (workflow_id, run_id, kind, payload, actor, at_us)"
    " VALUES (?, ?, 'RunStarted', '{\"v\":1,\"data\":{}}', 'a', 0)"
)
_EVENT = (
    "INSERT INTO durable_events (run_key, seq, batch, kind, at_us, actor, command, name, detail, payload, hash)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_MOVE = "UPDATE durable_heads SET seq = ? WHERE key = ? AND seq = ? AND epoch = 1"


class RawStore:
    """A fresh store file, written to directly."""

    def __init__(self, path: Path, runs: int) -> None:
        prepare(path, 10.0)
        self._connection = connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._seq = 0
        self._runs = runs
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT OR IGNORE INTO durable_lanes VALUES (1, 'w', 'default')")
        connection.executemany(_RUN, [(key, f"{key:036}", f"w-{key}") for key in range(1, runs + 1)])
        connection.executemany(_HEAD, [(key,) for key in range(1, runs + 1)])
        connection.execute("COMMIT")

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def commit_starts(self, first: int, count: int) -> None:
        """One transaction with so many new runs: the run, its head, its start in the inbox."""
        keys = range(first, first + count)
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_RUN, [(key, f"{key:036}", f"w-{key}") for key in keys])
        connection.executemany(_HEAD, [(key,) for key in keys])
        connection.executemany(_START, [(f"w-{key}", f"{key:036}") for key in keys])
        connection.execute("COMMIT")

    def commit_steps(self) -> None:
        """One transaction with one step of every run: two events each, and the run's head."""
        seq, digest = self._seq, bytes(32)
        payload = '{"v":1,"data":{"left":1,"right":2}}'
        events = []
        for key in range(1, self._runs + 1):
            events.append(
                (key, seq + 1, seq, "StepCompleted", seq, "worker", seq, "add", None, '{"v":1,"data":3}', digest)
            )
            events.append((key, seq + 2, seq, "StepScheduled", seq, "worker", seq, "add", None, payload, digest))
        self._seq = seq + 2
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_MOVE, [(seq + 2, key, seq) for key in range(1, self._runs + 1)])
        connection.executemany(_EVENT, events)
        connection.execute("COMMIT")


def raw_steps_per_second(path: Path, runs: int, rounds: int) -> float:
    """Steps a second when ``runs`` runs advance together."""
    store = RawStore(path, runs)
    try:
        began = perf_counter()
        for _ in range(rounds):
            store.commit_steps()
        return runs * rounds / (perf_counter() - began)
    finally:
        store.close()


def raw_starts_per_second(path: Path, runs: int, batch: int) -> float:
    """Starts a second: the rows of a run, in transactions of so many."""
    store = RawStore(path, 0)
    try:
        began = perf_counter()
        for first in range(1, runs + 1, batch):
            store.commit_starts(first, min(batch, runs + 1 - first))
        return runs / (perf_counter() - began)
    finally:
        store.close()


def raw_commit_seconds(path: Path, rounds: int) -> float:
    """One commit of one step of one run."""
    return 1 / raw_steps_per_second(path, 1, rounds)
