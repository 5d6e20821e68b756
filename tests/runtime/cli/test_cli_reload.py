"""Which files ``worker --reload`` watches, and that an end that is asked for comes, whenever that is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from runtime.cli import reload
from runtime.cli.reload import snapshot, watched_folders


def test_sources_are_watched_and_the_rest_is_not(tmp_path: Path) -> None:
    for name in ("app.py", "flow.yaml", "sub/more.py", "notes.txt", ".git/x.py", "venv/lib/y.py", "__pycache__/z.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    assert {str(path.relative_to(tmp_path)) for path in snapshot([tmp_path])} == {"app.py", "flow.yaml", "sub/more.py"}


def test_change_and_removal_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("")
    before = snapshot([tmp_path])
    os.utime(file, ns=(1, 1))
    changed = snapshot([tmp_path])
    assert changed != before
    file.unlink()
    assert snapshot([tmp_path]) == {}


def test_folders_are_those_of_the_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "alone.py").write_text("")
    assert watched_folders(["shop.workflows:deploy"]) == [tmp_path / "shop"]
    assert watched_folders(["alone", "alone.py", "./alone.py:x"]) == [tmp_path]


class Workers:
    """The processes of a supervisor, none of which there is."""

    def __init__(self) -> None:
        self.forked: list[int] = []
        self.told: list[tuple[int, int]] = []
        self.on_fork: Callable[[], None] = lambda: None
        self.on_wait: Callable[[], None] = lambda: None
        self.is_child = False

    def fork(self) -> int:
        self.on_fork()
        if self.is_child:
            return 0
        self.forked.append(len(self.forked) + 100)
        return self.forked[-1]

    def kill(self, pid: int, number: int) -> None:
        self.told.append((pid, number))

    def waitpid(self, pid: int, options: int) -> tuple[int, int]:
        if options == os.WNOHANG:
            return 0, 0
        assert any(told == pid for told, _ in self.told), "it would wait for a worker that was not told to end"
        self.on_wait()
        return pid, 0


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    made = Workers()
    changes = count()
    for name in ("fork", "kill", "waitpid"):
        monkeypatch.setattr(reload.os, name, getattr(made, name))
    monkeypatch.setattr(reload.os, "setpgid", lambda *_: None)
    monkeypatch.setattr(reload, "_end_with", lambda _: None)
    monkeypatch.setattr(reload.time, "sleep", lambda _: None)
    monkeypatch.setattr(
        reload, "snapshot", lambda _: {Path("app.py"): next(changes)}
    )  # changed whenever it is looked at
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def test_end_that_is_asked_for_while_the_worker_is_replaced_starts_no_other(workers: Workers) -> None:
    workers.on_wait = lambda: signal.raise_signal(signal.SIGINT)
    assert reload._Supervisor([]).supervise() == 0
    assert workers.forked == [100]


def test_end_that_is_asked_for_before_there_is_a_worker_starts_none(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "snapshot", lambda _: signal.raise_signal(signal.SIGINT) or {})
    assert reload._Supervisor([]).supervise() == 0
    assert workers.forked == []


def test_end_that_is_asked_for_while_the_worker_begins_reaches_it(workers: Workers) -> None:
    workers.on_fork = lambda: signal.raise_signal(signal.SIGINT)
    assert reload._Supervisor([]).supervise() == 0
    assert workers.told == [(100, signal.SIGINT)]


def test_worker_that_is_told_to_end_while_it_begins_hears_it(workers: Workers) -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    workers.is_child = True
    workers.on_fork = lambda: signal.raise_signal(signal.SIGTERM)
    assert reload._Supervisor([]).supervise() is None
    assert heard == [signal.SIGTERM]


def test_signal_for_a_worker_that_has_just_ended_harms_nothing(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pid: int, number: int) -> None:
        raise ProcessLookupError

    supervisor = reload._Supervisor([])
    supervisor._worker = 100
    monkeypatch.setattr(reload.os, "kill", gone)
    supervisor._handle(signal.SIGINT, None)
    assert supervisor._asked == [signal.SIGINT]
