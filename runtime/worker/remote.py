"""The other side of a step process: reads calls from the worker, answers with log lines and one outcome each.

A message is eight bytes of length and JSON. The worker says where the function is and hands over its arguments; what
the step logs goes back at once, so that a process that dies has said what it did. What the step prints goes to the
standard error of the worker, because standard output belongs to the messages.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import logging
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from pydantic_core import from_json, to_json

from durable.attempt import StepInfo, current_step
from durable.codec import record_exception
from durable.step import as_step
from durable.text import escape
from runtime.worker.logs import STANDARD_FIELDS, text_of

HEADER: Final = struct.Struct(">Q")
"""Length of the message that follows."""

PR_SET_PDEATHSIG: Final = 1
"""Of Linux: the signal that this process gets when the one that started it ends."""

WATCH_SECONDS: Final = 0.5
"""Between two looks whether the worker lives, for systems that do not tell."""

SENT_FIELDS: Final = ("name", "levelno", "created", "pathname", "lineno", "funcName", "module", "process", "threadName")
"""What of a log record crosses the border beside its text and what ``extra=`` added."""


def pack(*message: Any) -> bytes:
    """A message as bytes."""
    body = to_json(message, inf_nan_mode="constants", fallback=str)
    return HEADER.pack(len(body)) + body


def _sendable(value: Any) -> Any:
    """The value of an extra field, or its text, escaped, if JSON cannot hold it."""
    try:
        to_json(value, inf_nan_mode="constants", fallback=str)
    except ValueError:  # half a surrogate pair somewhere, or a cycle
        return escape(str(value))
    return value


class _Wire(logging.Handler):
    """The way to the worker. As a handler it sends log records, but only while a step runs: what a thread says that was
    left behind would be taken for the next step's."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._sending = threading.Lock()
        self._is_open = False

    def begin(self) -> None:
        """A step begins."""
        self._is_open = True

    def end(self, outcome: str, text: str) -> None:
        """The step has its outcome."""
        with self._sending:
            self._is_open = False
            self._send(outcome, text)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record as it reads."""
        try:
            fields = {name: getattr(record, name) for name in SENT_FIELDS}
            extra = {name: _sendable(value) for name, value in vars(record).items() if name not in STANDARD_FIELDS}
            with self._sending:
                if self._is_open:
                    self._send("log", {**extra, **fields, "msg": text_of(record)})
        except Exception:  # noqa: BLE001 - as every handler: a line that cannot be formatted must not fail the step
            self.handleError(record)

    def _send(self, *message: Any) -> None:
        try:
            self._stream.write(pack(*message))
            self._stream.flush()
        except BrokenPipeError:  # the worker is gone, and the step runs again elsewhere
            os._exit(1)


class _Remote:
    """``step_info()`` inside the process; heartbeats stay there."""

    def __init__(self, info: StepInfo) -> None:
        self._info = info

    def info(self) -> StepInfo:
        return self._info

    def beat(self, _details: Any) -> None:
        return None


def serve(worker: int) -> None:
    """Run the calls of the worker with this process id until it closes its end or is gone."""
    _end_with(worker)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_to_worker)
    forks = _Forks()
    os.register_at_fork(before=forks.begin, after_in_parent=forks.end, after_in_child=forks.begun)
    calls, wire = os.fdopen(os.dup(0), "rb"), _Wire(os.fdopen(os.dup(1), "wb"))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    while header := calls.read(HEADER.size):
        (call,) = from_json(calls.read(*HEADER.unpack(header)))
        sys.path[:] = call["path"]
        wire.begin()
        wire.end(*_run(wire, call))


def _end_with(worker: int) -> None:
    """Do not outlive the worker: a step that went on would run beside itself, once another worker has taken it up."""

    def watch() -> None:
        while os.getppid() == worker:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, name="durable-watch-worker", daemon=True).start()


def _leave_to_worker(_number: int, _frame: object) -> None:
    """Nothing: a Ctrl-C and a service manager tell every process, and it is the worker that lets its steps finish or kills
    them. A handler, because programs that a step starts inherit an ignored signal, and then they cannot be stopped."""


class _Forks(threading.local):
    """A fork is the step's own, which may end it, as ``multiprocessing`` does by SIGTERM. One that comes before the fork has
    its handler back is kept until then."""

    def begin(self) -> None:
        """The thread is about to fork."""
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def begun(self) -> None:
        """This is the fork."""
        if signal.getsignal(signal.SIGTERM) is _leave_to_worker:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.end()

    def end(self) -> None:
        """The thread has forked."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


def _run(wire: _Wire, call: Mapping[str, Any]) -> tuple[str, str]:
    try:
        _listen(wire, call["levels"])
        target: Any = _import(call["module"], call["file"])
        _listen(wire, call["levels"])  # the import may have configured something else
        for part in call["name"].split("."):
            target = getattr(target, part)
        definition = as_step(target)
        args, kwargs = definition.arguments.decode(call["arguments"])
        current_step.set(_Remote(StepInfo(**call["info"])))
        result = definition.fn(*args, **kwargs)
        if definition.is_async:
            result = asyncio.run(result)
        return "completed", definition.result.encode(result)
    except Exception as error:  # noqa: BLE001 - it is raised again on the other side
        return "failed", record_exception(error)


def _listen(wire: _Wire, levels: Mapping[str, int]) -> None:
    root = logging.getLogger()
    if wire not in root.handlers:
        root.addHandler(wire)
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)


def _import(module: str, file: str | None) -> Any:
    if module in sys.modules and module != "__main__":
        return sys.modules[module]
    if file is None:
        return importlib.import_module(module)
    from runtime.target import load_file

    return load_file(file)
