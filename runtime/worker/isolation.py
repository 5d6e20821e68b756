"""Steps in processes of their own, for CPU-bound functions and for code that may take its process down.

One process per call at a time, so that a crash fails one attempt and nothing else; a process that has answered waits
for the next call. Only texts cross the border (``remote`` is the other side): where the function is, its arguments and
result as JSON, and what it logs, which is logged here as if the step had run in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from durable.attempt import StepInfo
from durable.codec import rebuild_exception
from durable.errors import StepError
from durable.step import StepDefinition
from runtime.worker.remote import HEADER, pack

IDLE_SECONDS: Final = 300.0
"""How long a process waits for its next call."""

EXIT_SECONDS: Final = 1.0
"""How long is waited for a process to end that has nothing more to say."""

STREAM_BYTES: Final = 2**16
"""How much of an answer is read ahead."""

DRAIN_SECONDS: Final = 0.5
"""How long what a process said before it died is read, where a child that it forked keeps the pipe open."""

HOME: Final = str(Path(__file__).resolve().parents[2])

BOOT: Final = "import sys; sys.path[0] = sys.argv[1]; from runtime.worker.remote import serve; serve(int(sys.argv[2]))"
"""These packages come first, in a directory too that has a ``runtime.py`` of its own; the worker's path comes with the first call."""


class ProcessSlot:
    """Room for one attempt."""

    def __init__(self, processes: StepProcesses) -> None:
        self._processes = processes

    async def run(self, definition: StepDefinition[..., Any], arguments: str, info: StepInfo) -> str:
        """The result's JSON text of a step that ran in another process; cancelling ends the process.

        Raises:
            StepError: the process died.
            Exception: what the step raised.
        """
        outcome, text = await self._processes.call(definition, arguments, info)
        if outcome == "failed":
            raise rebuild_exception(text)
        return text

    def release(self) -> None:
        """The attempt is over."""
        self._processes.free.release()


class StepProcesses:
    """A pool that grows as it is needed, to a process for each processor; further attempts wait for one of them.

    Attributes:
        free: counts the processes that no attempt has.
    """

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(os.cpu_count() or 2)
        self._idle: dict[_StepProcess, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def slot(self) -> ProcessSlot:
        """Wait for a process."""
        await self.free.acquire()
        return ProcessSlot(self)

    async def call(self, definition: StepDefinition[..., Any], arguments: str, info: StepInfo) -> tuple[str, str]:
        """Run a step for a slot; the kind of the outcome, and its text."""
        process = self._take() or await _StepProcess.start()
        try:
            outcome = await process.call(definition, arguments, info)
        except BaseException:
            self._end(process)
            raise
        self._idle[process] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end, process)
        return outcome

    def _take(self) -> _StepProcess | None:
        while self._idle:
            process, retirement = self._idle.popitem()
            retirement.cancel()
            if process.is_alive:
                return process
        return None

    def _end(self, process: _StepProcess) -> None:
        retirement = self._idle.pop(process, None)
        if retirement is not None:
            retirement.cancel()
        ending = asyncio.get_running_loop().create_task(process.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End every process."""
        for process in list(self._idle):
            self._end(process)
        if self._ending:
            await asyncio.wait(set(self._ending))


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    """The streams of a process, and word of its end.

    ``asyncio.subprocess.Process.wait`` comes back only when the pipes are closed, too, and a child that the step forked
    and that outlives it holds them open. So it is the end of the process that closes them.
    """

    transport: asyncio.SubprocessTransport

    def __init__(self) -> None:
        super().__init__(limit=STREAM_BYTES, loop=asyncio.get_running_loop())
        self.has_exited = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self.transport = transport
        super().connection_made(transport)

    def process_exited(self) -> None:
        super().process_exited()
        self.has_exited.set()
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self.close)

    def close(self) -> None:
        """Close the pipes, and do not wait for somebody to read what is still to be written."""
        calls = self.transport.get_pipe_transport(0)
        if isinstance(calls, asyncio.WriteTransport) and not calls.is_closing():
            calls.abort()
        self.transport.close()


class _StepProcess:
    """One process."""

    def __init__(self, protocol: _Protocol) -> None:
        assert protocol.stdin is not None
        assert protocol.stdout is not None
        self._protocol = protocol
        self._calls, self._answers = protocol.stdin, protocol.stdout

    @classmethod
    async def start(cls) -> _StepProcess:
        pipe = asyncio.subprocess.PIPE
        loop = asyncio.get_running_loop()
        command = (sys.executable, "-c", BOOT, HOME, str(os.getpid()))
        _, protocol = await loop.subprocess_exec(_Protocol, *command, stdin=pipe, stdout=pipe, stderr=None)
        return cls(protocol)

    @property
    def is_alive(self) -> bool:
        return not self._protocol.has_exited.is_set()

    async def call(self, definition: StepDefinition[..., Any], arguments: str, info: StepInfo) -> tuple[str, str]:
        """The kind of the outcome, and its text."""
        module = sys.modules[definition.fn.__module__]
        is_file = module.__name__ == "__main__" or "." not in module.__name__
        request = {
            "path": sys.path,
            "levels": _levels(),
            "module": module.__name__,
            "file": getattr(module, "__file__", None) if is_file else None,
            "name": definition.fn.__qualname__,
            "arguments": arguments,
            "info": {field.name: getattr(info, field.name) for field in fields(info) if field.name != "connection"},
        }
        with suppress(ConnectionError):  # it is gone, as its answer will say
            self._calls.write(pack(request))
            await self._calls.drain()
        while True:
            try:
                (size,) = HEADER.unpack(await self._answers.readexactly(HEADER.size))
                kind, content = from_json(await self._answers.readexactly(size))
            except (asyncio.IncompleteReadError, ConnectionError):
                reason = await self._last_words()
                raise StepError(f"the process of step {definition.name!r} {reason}", step=definition.name) from None
            if kind != "log":
                return kind, content
            _relay(content)

    async def _last_words(self) -> str:
        """How it ended."""
        await self._wait()
        code = self._protocol.transport.get_returncode()
        if code is None:
            return "closed its connection to the worker"
        if code >= 0:
            return f"died with exit code {code}"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"

    async def _wait(self) -> None:
        """Wait a moment for its end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_SECONDS):
                await self._protocol.has_exited.wait()

    async def end(self) -> None:
        """Kill it, and give back what it held."""
        try:
            with suppress(ProcessLookupError):
                self._protocol.transport.kill()
            await self._wait()
        finally:
            self._protocol.close()


def _levels() -> dict[str, int]:
    """What is logged here, by logger."""
    loggers = logging.root.manager.loggerDict.copy()  # other threads add to it
    own = {
        name: logger.level for name, logger in loggers.items() if isinstance(logger, logging.Logger) and logger.level
    }
    return {"": logging.root.level, **own}


def _relay(fields: dict[str, Any]) -> None:
    """Log a line of the process; the step is in the context, as for any line of it."""
    logger = logging.getLogger(fields["name"])
    if logger.isEnabledFor(fields["levelno"]):
        fields["levelname"] = logging.getLevelName(fields["levelno"])
        fields["msecs"] = fields["created"] % 1 * 1000
        logger.handle(logging.makeLogRecord(fields))
