"""Signs of life: who is believed to live, and who must notice that nobody believes it (rule D3)."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conformance.build import T0, begin, commit, get, new_run, worker_row
from store_until import until

from durable.errors import ConflictError, StoreError
from runtime.store.row import WorkerRow
from runtime.store.sqlite import SqliteStore
from runtime.store.sqlite import lease as lease_module
from runtime.store.sqlite.lease import SqliteLease, folder_of, read_signs

pytestmark = pytest.mark.anyio

SCRIPT = Path(__file__).with_name("worker_process.py")
NS = 1_000_000_000


async def nothing() -> None:
    """Gives back nothing."""


class BootClock:
    """A boot clock that is set by hand."""

    def __init__(self) -> None:
        self.ns = 1_000 * NS

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock(monkeypatch) -> BootClock:
    clock = BootClock()
    monkeypatch.setattr(lease_module, "boot_ns", clock)
    return clock


@pytest.fixture
def folder(path) -> Path:
    return folder_of(path)


def make_lease(folder: Path, lease_seconds: float = 1000, watchdog_seconds: float = 10, **fields) -> SqliteLease:
    worker = worker_row(fields.pop("worker_id", "w"), **fields)
    return SqliteLease(folder, worker, lease_seconds, watchdog_seconds, nothing)


@contextmanager
def worker(path: Path, worker_id: str, lease_seconds: float, then: str = "wait") -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own, that has claimed."""
    command = [sys.executable, str(SCRIPT), str(path), worker_id, str(lease_seconds), then]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "joined 1\n"
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


# -- one lease --------------------------------------------------------------------------------------------


async def test_heart_keeps_a_lease_beyond_its_length(folder):
    lease = make_lease(folder, lease_seconds=0.3)
    first = lease._beat_ns
    await until(lambda: lease.loop_alive() or lease._beat_ns - first > 0.6 * NS)
    assert lease.is_fresh()
    assert [sign.is_alive for sign in read_signs(folder)] == [True]
    lease.remove()


async def test_lease_lapses_when_the_event_loop_is_silent(folder):
    lease = make_lease(folder, lease_seconds=0.1, watchdog_seconds=0.0)
    await until(lambda: not lease.is_fresh())
    assert [(sign.is_alive, sign.is_held) for sign in read_signs(folder)] == [(False, True)]
    lease.remove()


async def test_lease_is_fresh_for_its_length_and_no_longer(folder, clock):
    lease = make_lease(folder)
    clock.ns += 1000 * NS - 1
    assert lease.is_fresh()
    clock.ns += 1
    assert not lease.is_fresh()
    lease.remove()


async def test_lease_that_lapsed_never_becomes_fresh_again(folder, clock):
    lease = make_lease(folder)
    clock.ns += 1000 * NS
    assert not lease.is_fresh()
    clock.ns -= 1000 * NS
    assert not lease.is_fresh()
    lease.remove()


async def test_heart_that_comes_too_late_does_not_beat(folder, clock):
    lease = make_lease(folder, lease_seconds=0.03, watchdog_seconds=10**6)
    clock.ns += NS
    await until(lambda: not lease._heart.is_alive())
    [sign] = read_signs(folder)
    assert not sign.is_alive
    assert sign.is_held
    lease.remove()


async def test_beat_that_is_older_than_the_lease_is_no_sign_of_life(folder, clock):
    lease = make_lease(folder)
    clock.ns += 1000 * NS
    assert [sign.is_alive for sign in read_signs(folder)] == [True]
    clock.ns += 1
    assert [sign.is_alive for sign in read_signs(folder)] == [False]
    lease.remove()


async def test_beat_that_cannot_be_written_does_not_count(folder, monkeypatch):
    lease = make_lease(folder, lease_seconds=0.1)
    monkeypatch.setattr(os, "pwrite", _no_space)
    await until(lambda: lease.loop_alive() or not lease.is_fresh())
    monkeypatch.undo()
    lease.remove()


def _no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")


async def test_sign_carries_the_worker(folder):
    lease = make_lease(folder, queues=("default", "gpu"))
    [sign] = read_signs(folder)
    assert sign.worker == worker_row("w", queues=("default", "gpu"))
    lease.remove()


async def test_end_removes_the_sign_and_may_be_repeated(folder):
    lease = make_lease(folder)
    await lease.end()
    await lease.end()
    assert read_signs(folder) == []
    assert not lease.is_fresh()


async def test_end_removes_the_sign_also_when_nothing_could_be_given_back(folder):
    async def fail() -> None:
        raise StoreError("the disk is full")

    lease = SqliteLease(folder, worker_row("w"), 1000, 10, fail)
    with pytest.raises(StoreError):
        await lease.end()
    assert read_signs(folder) == []


async def test_second_lease_of_one_id_outlives_the_first(folder):
    first = make_lease(folder)
    second = make_lease(folder)
    await first.end()
    assert [sign.is_alive for sign in read_signs(folder)] == [True]
    await second.end()


@pytest.mark.parametrize("worker_id", ["../../etc/passwd", "a b", "ä" * 200, "", "host/1", "host_1"])
async def test_any_worker_id_has_a_file_of_its_own(folder, worker_id):
    others = [make_lease(folder, worker_id=other) for other in ("host_2", "a_b")]
    lease = make_lease(folder, worker_id=worker_id)
    assert {sign.worker.worker_id for sign in read_signs(folder)} == {worker_id, "host_2", "a_b"}
    assert all(sign.path.parent == folder for sign in read_signs(folder))
    for one in (lease, *others):
        one.remove()


async def test_sign_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="sign of life"):
        make_lease(tmp_path / "file")


async def test_sign_that_vanishes_while_it_is_read_is_no_sign(folder):
    folder.mkdir()
    (folder / "gone.json").symlink_to(folder / "nowhere")
    assert read_signs(folder) == []


# -- the store --------------------------------------------------------------------------------------------


async def test_worker_that_dies_loses_its_runs_at_once(sqlite, path):
    await sqlite.start(new_run())
    with worker(path, "mortal", lease_seconds=1000) as process:
        assert [row.worker_id for row in await sqlite.workers()] == ["mortal"]
        assert await sqlite.take_over(T0) == 0
        process.kill()
        process.wait()
        assert await sqlite.workers() == []
        assert await sqlite.take_over(T0) == 1
    run = await get(sqlite)
    assert (run.owner, run.lost, run.epoch) == (None, True, 2)
    assert list(folder_of(path).glob("*.json")) == []


async def test_worker_that_is_stopped_loses_its_runs_after_its_lease_and_notices(sqlite, path):
    await sqlite.start(new_run())
    with worker(path, "sleeper", lease_seconds=0.5) as process:
        process.send_signal(signal.SIGSTOP)
        await until(lambda: not any(sign.is_alive for sign in read_signs(folder_of(path))))
        assert await sqlite.take_over(T0) == 1
        assert len(list(folder_of(path).glob("*.json"))) == 1
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        assert process.stdout.readline() == "lapsed\n"


async def test_forked_child_does_not_keep_a_dead_worker_alive(sqlite, path):
    await sqlite.start(new_run())
    with worker(path, "parent", lease_seconds=1000, then="fork") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline().removeprefix("child "))
        try:
            process.kill()
            process.wait()
            await until(lambda: not any(sign.is_held for sign in read_signs(folder_of(path))))
            assert await sqlite.workers() == []
        finally:
            os.kill(child, signal.SIGKILL)


async def test_commit_of_a_worker_that_was_taken_for_dead_is_refused(sqlite, clock):
    lease = await sqlite.join(worker_row("worker"), 10)
    author = await begin(sqlite)
    clock.ns += 11 * NS
    assert await sqlite.take_over(T0) == 1
    assert not lease.is_fresh()
    [outcome] = await commit(sqlite, author.turn())
    assert isinstance(outcome, ConflictError)


async def test_worker_that_joins_while_a_takeover_waits_for_the_write_lock_keeps_what_it_claims(sqlite, path):
    """Its runs would count as lost: what must not run twice would be in doubt."""
    other = SqliteStore(path)
    await other.open()
    await other.start(new_run())
    writer = sqlite._parts.writer
    with writer._mutex:  # as while a transactional step works
        taking = asyncio.ensure_future(sqlite.take_over(T0))
        await until(lambda: writer._pending == 1)
        await other.join(worker_row("newcomer"), 1000)
        [claimed] = await other.claim("newcomer", ["order"], ["default"], 1, T0)
    assert await taking == 0
    run = await get(sqlite)
    assert (run.owner, run.epoch, run.lost) == ("newcomer", claimed.run.epoch, False)
    await other.close()


async def test_close_removes_the_signs_of_this_process(path):
    store = SqliteStore(path)
    await store.open()
    await store.join(worker_row("a"), 10)
    await store.close()
    assert read_signs(folder_of(path)) == []


async def test_store_that_was_opened_before_a_fork_says_so(sqlite, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(StoreError, match="forked"):
        await sqlite.start(new_run())


async def test_sign_is_readable_by_people(folder):
    lease = make_lease(folder)
    beat, text = next(folder.glob("*.json")).read_text().split("\n", 1)
    assert len(beat) == 20
    assert WorkerRow(**json.loads(text)["worker"]).pid == 1
    lease.remove()


async def test_forked_child_lets_go_and_leaves_the_file_to_its_parent(folder):
    lease = make_lease(folder)
    lease_module._forsake_all()
    assert [(sign.is_alive, sign.is_held) for sign in read_signs(folder)] == [(False, False)]
    await lease.end()
    assert not lease.is_fresh()
    assert len(read_signs(folder)) == 1
    lease._stop.set()
    lease._heart.join()
