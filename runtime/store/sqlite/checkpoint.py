"""Checkpoints by a thread of their own, so that no commit waits for one.

Committed pages gather in the write-ahead log and are copied into the database from time to time. SQLite's own
checkpoint at every 1,000 pages runs inside a commit and holds it up; here it is off, and a thread with a connection
of its own copies while commits go on. The log can start over only when all of it is copied and nobody writes, which
never happens under constant load: so once it is large, a second short pass runs while commits are held.

SQLite up to 3.51.2 may corrupt a database ("the WAL-reset bug") when a checkpoint begins on a log that is copied
already, and at the same time another connection commits and thereby starts the log over: the checkpoint then marks
new pages as copied. Python ships older versions for years to come, so this thread makes it impossible: checkpoints of
all processes exclude each other by a lock file, which also keeps the time of the last one, and none begins without
proof that something was committed after that.

Source: https://www.sqlite.org/wal.html#walresetbug
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from runtime.store.sqlite.clock import boot_ns
from runtime.store.sqlite.connection import connect_checkpointer
from runtime.store.sqlite.lease import folder_of
from runtime.store.sqlite.turnstile import Turnstile

_PAGES: Final = 1_000
"""New pages in the log after which they are copied: 4 MB, which a disk takes in milliseconds."""

_LARGE_PAGES: Final = 2_000
"""Pages in the log after which commits are held until all is copied, and it starts over: 8 MB. It soon does, because
a disk syncs what is overwritten in half the time of what is appended."""

_FIRST_COMMITS: Final = 100
"""Commits until the first checkpoint, before it is known how many pages a commit takes."""

_DIGITS: Final = 20


class Checkpointer:
    """Copies the log into the database when enough was committed.

    Args:
        path: the database file.
        mutex: held while this process has a write transaction open.
    """

    def __init__(self, path: Path, mutex: Turnstile) -> None:
        self._path = path
        self._mutex = mutex
        self._commits = 0
        self._committed_at_ns = 0
        self._due = _FIRST_COMMITS
        self._counted = 0
        self._pages = 0
        self._is_large = False
        self._wake = threading.Event()
        self._is_stopped = False
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._work, name=f"durable-checkpoint {path.name}", daemon=True)

    def start(self) -> None:
        """Begin to wait for commits."""
        self._thread.start()

    def stop(self) -> None:
        """Let a checkpoint that is running end, and disconnect. Blocks."""
        self._is_stopped = True
        self._wake.set()
        self._thread.join()
        self._disconnect()

    def committed(self, began_ns: int) -> None:
        """Note a commit that began at a time of ``boot_ns``."""
        self._committed_at_ns = began_ns
        self._commits += 1
        if self._commits >= self._due:
            self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._is_stopped:
                return
            self._copy_and_plan()

    def _copy_and_plan(self) -> None:
        commits = self._commits
        try:
            with self._mutex if self._is_large else nullcontext():
                pages = self._copy()
        except (OSError, sqlite3.Error):
            # Nothing is lost but space: the log keeps all pages. What is wrong with the disk, commits report.
            self._disconnect()
            self._due = commits + _FIRST_COMMITS
            return
        if pages is None:
            self._due = commits + 1
            return
        new_pages = pages - self._pages if pages > self._pages else pages
        commits_a_page = (commits - self._counted) / max(new_pages, 1)
        self._due = commits + max(1, min(int(_PAGES * commits_a_page), _PAGES))
        self._pages, self._counted = pages, commits
        if self._is_large:
            self._is_large, self._pages = False, 0
        elif pages >= _LARGE_PAGES:
            # Only what the next commit adds is left to copy then: the pass that holds up commits is short.
            self._is_large, self._due = True, commits + 1

    def _copy(self) -> int | None:
        """Copy what the log holds, if that is safe. Returns the pages in the log, None if nothing was done."""
        with _only_one(self._path) as record:
            now_ns = boot_ns()
            last_ns = int(os.pread(record, _DIGITS, 0) or b"0")
            if self._committed_at_ns <= last_ns <= now_ns:
                return None
            os.pwrite(record, f"{now_ns:0{_DIGITS}d}".encode(), 0)
            if self._connection is None:
                self._connection = connect_checkpointer(self._path)
            _, pages, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            os.pwrite(record, f"{boot_ns():0{_DIGITS}d}".encode(), 0)
        return int(pages)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@contextmanager
def _only_one(path: Path) -> Iterator[int]:
    """Exclude the checkpoints of other processes; gives the file that keeps the time of the last one."""
    folder = folder_of(path)
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "checkpoint.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)
