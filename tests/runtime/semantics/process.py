"""Processes for tests that stop and kill them; a worker in one: ``python -m semantics.process URL CACHE_SIZE LEASE BLOCKED``.

It says on its output what happens, and whatever it reads from its input opens the gate at which its steps wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime import Worker
from runtime.store.sqlite import SqliteStore
from semantics import flows

PATIENCE = 30


class Process:
    """A module run as a script; killed at the end of the ``async with``, if it still lives.

    Args:
        module: its name.
        arguments: of its command line.
    """

    def __init__(self, module: str, *arguments: object) -> None:
        self._command = (sys.executable, "-m", module, *map(str, arguments))
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        here = Path(__file__).parents[1]
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(here)},
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self.kill()
            await self.ended()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def said(self, line: str) -> None:
        """Wait for this line of its output."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while (heard := await self._process.stdout.readline()).decode().strip() != line:
                assert heard, f"the process ended without saying {line!r}"

    async def heard(self, text: str) -> str:
        """Wait for a line of its output that contains this text, and return it."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while text not in (line := (await self._process.stdout.readline()).decode()):
                assert line, f"the process ended without saying {text!r}"
        return line

    def tell(self, line: str) -> None:
        """Write a line to its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def say_no_more(self) -> None:
        """Close its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()

    async def ended(self) -> int:
        """Wait until it has ended; its exit status. Its input stays open, for at its end the process would go home."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            await self._process.stdout.read()
            return await self._process.wait()


class WorkerProcess(Process):
    """Runs the workflows of ``semantics.flows``.

    Args:
        url: of the store.
        cache_size, lease_seconds, blocked_seconds: as for ``Worker``; the heart stops as soon as the loop is blocked.
    """

    def __init__(
        self, url: str, *, cache_size: int = 1000, lease_seconds: float = 10.0, blocked_seconds: float = 2.0
    ) -> None:
        super().__init__("semantics.process", url, cache_size, lease_seconds, blocked_seconds)

    def open_gate(self) -> None:
        """Let its steps go on."""
        self.tell("go")


async def _serve(url: str, cache_size: int, lease_seconds: float, blocked_seconds: float) -> None:
    flows.gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    store = SqliteStore(url.removeprefix("sqlite:///"), watchdog_seconds=blocked_seconds)
    worker = Worker(
        store, workflows=flows.WORKFLOWS, cache_size=cache_size, lease_seconds=lease_seconds,
        blocked_seconds=blocked_seconds,
    )  # fmt: skip
    async with worker:
        print("ready", flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            flows.gate.set()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
