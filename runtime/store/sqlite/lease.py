"""Signs of life of workers: one locked file each, in a directory beside the database (rule D3).

A heartbeat kept as a row would queue behind writers, so here it is a file. While a worker lives it holds an
exclusive ``flock`` on ``<database>-workers/<worker>.json``; the kernel lets go of it when the process dies, so a
dead process loses its lease at once. A process that still exists but does not run (SIGSTOP, a stalled machine)
stops beating: the file holds the time of the last beat on ``CLOCK_BOOTTIME``, which is one clock for all processes
of the host and goes on while the machine sleeps. A beat older than the lease is no sign of life.

The heart is a thread of its own, so a long transaction or a full disk does not stop it, and it writes the file
before a worker's first beat is believed. It stops by itself when the event loop has been silent for longer than the
watchdog allows. A beat that comes too late is never written: the worker is taken for dead already, and its lease
has lapsed for ever. It joins again under a new id.

File: the beat as 20 digits, a newline, the lease and the worker as JSON. The digits are overwritten in place by one
write.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from durable.errors import StoreError
from runtime.store.row import WorkerRow
from runtime.store.sqlite.clock import boot_ns

_BEAT_DIGITS: Final = 20
_BEATS_A_LEASE: Final = 3
_NS: Final = 1_000_000_000


def folder_of(database: Path) -> Path:
    """Where the signs of life for a database are."""
    return database.with_name(f"{database.name}-workers")


class SqliteLease:
    """One worker's sign of life.

    Args:
        folder: where to keep it.
        worker: whose it is.
        lease_seconds: how long a beat lasts.
        watchdog_seconds: how long the event loop may be silent before the heart stops.
        give_back: frees what the worker still owns.

    Raises:
        StoreError: the file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        worker: WorkerRow,
        lease_seconds: float,
        watchdog_seconds: float,
        give_back: Callable[[], Awaitable[None]],
    ) -> None:
        self._lease_ns = int(lease_seconds * _NS)
        self._watchdog_ns = int(watchdog_seconds * _NS)
        self._interval = lease_seconds / _BEATS_A_LEASE
        self._give_back = give_back
        self._stop = threading.Event()
        self._has_lapsed = False
        self._is_ended = False
        self._is_removed = False
        self._beat_ns = self._alive_ns = boot_ns()
        self._path = folder / f"{_file_name(worker.worker_id)}.json"
        self._fd = self._create(worker)
        _open_leases.add(self)
        self._heart = threading.Thread(target=self._beat_on, name=f"durable-heart {worker.worker_id}", daemon=True)
        self._heart.start()

    def _create(self, worker: WorkerRow) -> int:
        """Write and lock the file under another name: nobody must see it unlocked and take it for a dead worker's."""
        draft = self._path.with_suffix(f".{os.getpid()}.new")
        text = json.dumps({"lease_ns": self._lease_ns, "worker": asdict(worker)})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(fd, f"{self._beat_ns:0{_BEAT_DIGITS}d}\n{text}\n".encode(), 0)
            draft.replace(self._path)
        except OSError as error:
            raise StoreError(
                f"cannot write the worker's sign of life {self._path}: {error.strerror}", path=str(self._path)
            ) from error
        return fd

    def is_fresh(self) -> bool:
        """Whether the last beat still lasts. Once it did not, the lease has lapsed for ever."""
        if self._has_lapsed or self._is_ended:
            return False
        if boot_ns() - self._beat_ns >= self._lease_ns:
            self._has_lapsed = True
            return False
        return True

    def loop_alive(self) -> None:
        """Note that the event loop turns."""
        self._alive_ns = boot_ns()

    def _beat_on(self) -> None:
        while not self._stop.wait(self._interval):
            now_ns = boot_ns()
            if now_ns - self._alive_ns > self._watchdog_ns:
                continue
            if not self.is_fresh():
                return
            try:
                os.pwrite(self._fd, f"{now_ns:0{_BEAT_DIGITS}d}".encode(), 0)
            except OSError:  # a beat that was not written does not count; the next one may be
                continue
            self._beat_ns = now_ns

    async def end(self) -> None:
        """Give back what is owned, and remove the sign of life."""
        if self._is_ended:
            return
        self._is_ended = True
        try:
            await self._give_back()
        finally:
            self.remove()

    def remove(self) -> None:
        """Stop the heart and remove the file."""
        self._is_ended = True
        if self._is_removed:
            return
        self._is_removed = True
        self._stop.set()
        self._heart.join()
        _open_leases.discard(self)
        if self._is_at_path():
            self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def _is_at_path(self) -> bool:
        """Whether the file at the path is this lease's, and not that of a worker who joined again under the same id."""
        try:
            return self._path.stat().st_ino == os.fstat(self._fd).st_ino
        except OSError:
            return False

    def forsake(self) -> None:
        """Let go in a forked child: the parent's lock must not live on in a process that is no worker."""
        self._is_ended = self._is_removed = True
        os.close(self._fd)


_open_leases: Final[weakref.WeakSet[SqliteLease]] = weakref.WeakSet()


def _forsake_all() -> None:
    for lease in list(_open_leases):
        lease.forsake()
    _open_leases.clear()


os.register_at_fork(after_in_child=_forsake_all)


def _file_name(worker_id: str) -> str:
    """A file name for any worker id."""
    plain = "".join(character if character.isalnum() or character in "-_." else "_" for character in worker_id)
    return (
        worker_id
        if plain == worker_id and len(plain) < 100
        else f"{plain[:60]}-{sha256(worker_id.encode()).hexdigest()[:16]}"
    )


class SignOfLife(NamedTuple):
    """A worker's file as others find it.

    Attributes:
        is_alive: its process exists and its last beat still lasts.
        is_held: its process exists.
    """

    path: Path
    worker: WorkerRow
    is_alive: bool
    is_held: bool


def read_signs(folder: Path) -> list[SignOfLife]:
    """Every worker's sign of life, dead ones included."""
    signs = [_read_sign(path) for path in sorted(folder.glob("*.json"))]
    return [sign for sign in signs if sign is not None]


def living(signs: Iterable[SignOfLife]) -> set[str]:
    """The ids of the workers that are alive."""
    return {sign.worker.worker_id for sign in signs if sign.is_alive}


def _read_sign(path: Path) -> SignOfLife | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):  # gone meanwhile, or of a worker that this user may not look at
        return None
    try:
        is_held = _is_held(fd)
        beat, _, text = os.pread(fd, 1 << 20, 0).partition(b"\n")
        kept = json.loads(text)
        is_alive = is_held and boot_ns() - int(beat) <= kept["lease_ns"]
        return SignOfLife(path, _worker(kept["worker"]), is_alive, is_held)
    finally:
        os.close(fd)


def _worker(fields: dict[str, Any]) -> WorkerRow:
    sequences = {name: tuple(fields[name]) for name in ("queues", "workflows")}
    return WorkerRow(**{**fields, **sequences})


def _is_held(fd: int) -> bool:
    """Whether a living process holds the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
