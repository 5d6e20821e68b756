"""Processes of the command under test, and ways to wait for what they say without guessing how long it takes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = str(Path(sysconfig.get_path("scripts")) / "durable")
PATIENCE = 60.0
"""Seconds after which a test gives up; nothing is expected to take so long."""


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DURABLE_", "PYTHONPATH"))}
    return {**kept, "TERM": "xterm", "COLUMNS": "200", **more}


def durable(folder: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [COMMAND, *args], cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=PATIENCE, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


class Process:
    """The command, still running; its standard output and error are read line by line.

    Attributes:
        lines: what it has said so far.
    """

    def __init__(self, folder: Path, *args: str) -> None:
        self.child = subprocess.Popen(
            [COMMAND, *args], cwd=folder, env=environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._read = b""

    def until(self, text: str) -> str:
        """The next line with this text."""
        while True:
            line = self._line()
            assert line, f"no {text!r} in {self.lines}"
            if text in line:
                return line

    def _line(self) -> str:
        """The next line, empty at the end of the output."""
        assert self.child.stdout is not None
        number = self.child.stdout.fileno()
        while b"\n" not in self._read:
            ready, _, _ = select.select([number], [], [], PATIENCE)
            part = os.read(number, 65536) if ready else b""
            if not part:
                return ""
            self._read += part
        line, _, self._read = self._read.partition(b"\n")
        self.lines.append(line.decode())
        return self.lines[-1]

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def end(self) -> int:
        """Its exit code, once it has ended; what it said until then is in ``lines``."""
        while self._line():
            continue
        return self.child.wait(PATIENCE)


@contextmanager
def running(folder: Path, *args: str) -> Iterator[Process]:
    """A process that does not outlive the test."""
    process = Process(folder, *args)
    try:
        yield process
    finally:
        if process.child.poll() is None:
            os.killpg(process.child.pid, signal.SIGKILL)
        process.child.wait()
        assert process.child.stdout is not None
        process.child.stdout.close()


class Person:
    """The command on a terminal, with somebody who reads and types."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(COMMAND, [COMMAND, *args], environment())
        self.seen = ""
        self._unread = ""

    def reads(self, text: str) -> None:
        """Wait until the text appears, after what was read before."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._unread:
            assert time.monotonic() < deadline, self.seen
            assert self._read(), self.seen
        self._unread = self._unread.partition(text)[2]

    def types(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def leaves(self) -> int:
        """Wait for the end; returns the exit code."""
        while self._read():
            continue
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], PATIENCE)
        assert ready, self.seen
        try:
            part = os.read(self._terminal, 65536).decode(errors="replace")
        except OSError:  # the other side of a terminal that is gone
            return False
        self.seen += part
        self._unread += part
        return bool(part)


def release(pipe: Path) -> None:
    """Let go whoever reads from this pipe, or will in a moment."""
    with reached(pipe):
        pass


@contextmanager
def reached(pipe: Path) -> Iterator[None]:
    """Wait until somebody reads from this pipe, and let them go at the end of the context."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            number = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody has opened it yet
            assert time.monotonic() < deadline, "nobody reads from the pipe"
            os.sched_yield()
        else:
            break
    try:
        yield
    finally:
        os.close(number)


def runs(folder: Path, *flags: str) -> dict[str, str]:
    """Status of each run by its id."""
    return {
        run["workflow_id"]: run["status"]
        for run in json.loads(durable(folder, "list", "--json", *flags).stdout)["runs"]
    }


def show(folder: Path, run_id: str) -> Any:
    """What ``durable show`` knows."""
    return json.loads(durable(folder, "show", run_id, "--json").stdout)
