"""Log lines: those of steps are kept with their run, and every line can be shown to people or to machines.

What code logs while it runs as a step, through any logger of the standard library, goes to the handlers that
the program has, as everywhere, and besides to the run: ``RunLogHandler`` finds the step in the context, collects
lines from all threads and writes them in batches. The store keeps the newest of each run. Lines of workflow code
(``ctx.log``) are part of their turn: they are in the store with its commit, and ``show_lines`` hands them to the
program's handlers after that.

The loggers ``durable`` and below are this project's own. They speak about runs, not from within a step, so their
lines are never kept with whichever step happens to be in the context.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from durable.attempt import RunningStep, current_step
from durable.errors import StoreError, StoreUnavailableError
from durable.kernel.runlog import LogLine
from durable.text import escape
from runtime.clock import Clock
from runtime.store.row import LogRow, RunRow

LogFormat = Literal["auto", "human", "json"]

MAX_PENDING: Final = 10_000
"""Lines that wait to be written; more of them push out the oldest."""

MAX_MESSAGE: Final = 8 * 1024

FLUSH_SECONDS: Final = 0.05
RETRY_SECONDS: Final = 1.0

_run_logger = logging.getLogger("durable.run")
_worker_logger = logging.getLogger("durable.worker")
STANDARD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest came by ``extra=``."""


def _is_own(name: str) -> bool:
    return name == "durable" or name.startswith("durable.")


class RunLogHandler(logging.Handler):
    """Keeps what steps log with their runs. Made on the event loop of the worker; lines may come from any thread.

    Args:
        write: keeps lines; the store's ``write_logs``.
        owns: whether a step is one of this worker's, where several share a process.
        clock: the worker's.
    """

    def __init__(
        self, write: Callable[[Sequence[LogRow]], Awaitable[None]], owns: Callable[[RunningStep], bool], clock: Clock
    ) -> None:
        super().__init__()
        self._write = write
        self._owns = owns
        self._clock = clock
        self._pending: deque[LogRow] = deque(maxlen=MAX_PENDING)
        self._loop = asyncio.get_running_loop()
        self._is_scheduled = False
        self._is_closed = False
        self._writing: asyncio.Task[None] | None = None

    def attach(self) -> None:
        """Begin to listen to every logger."""
        logging.getLogger().addHandler(self)

    async def detach(self) -> None:
        """Stop listening and write what is left; what the store does not take now is lost. Idempotent."""
        logging.getLogger().removeHandler(self)
        self._is_closed = True
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        try:
            await self._flush()
        except StoreError as error:
            _worker_logger.warning("%d log lines are lost: %s", len(self._pending), error.message)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line if it comes from one of this worker's steps."""
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and self._is_alone(record):
            last.handle(record)
        running = current_step.get(None)
        if running is None or self._is_closed or _is_own(record.name) or not self._owns(running):
            return
        try:
            info = running.info()
            row = LogRow(info.run_id, self._clock.now_us(), escape(record.levelname), info.step, text_of(record))
        except Exception:  # noqa: BLE001 - as every handler: a line that cannot be formatted must not fail the step
            self.handleError(record)
            return
        self._pending.append(row)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon_threadsafe(self._loop.call_later, FLUSH_SECONDS, self._begin)

    def _is_alone(self, record: logging.LogRecord) -> bool:
        """Whether the standard library would use its last resort if this handler were not there."""
        heard: list[logging.Handler] = []
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            heard.extend(logger.handlers)
            logger = logger.parent if logger.propagate else None
        return heard[:1] == [self] and all(isinstance(handler, RunLogHandler) for handler in heard)

    def _begin(self) -> None:
        self._is_scheduled = False
        if self._writing is None and not self._is_closed:
            self._writing = self._loop.create_task(self._keep())

    async def _keep(self) -> None:
        try:
            await self._flush()
        except StoreUnavailableError:
            self._is_scheduled = True
            self._loop.call_later(RETRY_SECONDS, self._begin)
        except StoreError as error:
            _worker_logger.warning("log lines are lost: %s", error.message)
        finally:
            self._writing = None

    async def _flush(self) -> None:
        while self._pending:
            rows = [self._pending.popleft() for _ in range(min(1000, len(self._pending)))]
            try:
                await self._write(rows)
            except StoreUnavailableError:
                self._pending.extendleft(reversed(rows[: MAX_PENDING - len(self._pending)]))
                raise


def text_of(record: logging.LogRecord) -> str:
    """The message of a record with its traceback, escaped where no store takes it, and cut to a length that is kept."""
    text = record.getMessage()
    if record.exc_info:
        text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
    return shorten(escape(text))


def shorten(text: str) -> str:
    """A text cut to a length that is kept."""
    left = len(text) - MAX_MESSAGE
    return text if left <= 0 else f"{text[:MAX_MESSAGE]} [... {left} characters left out]"


# -- showing ----------------------------------------------------------------------------------------------


def run_ids(row: RunRow) -> dict[str, str]:
    """What ``extra=`` of a line about a run holds."""
    return {"workflow_id": row.workflow_id, "run_id": row.run_id, "workflow": row.workflow}


def show_lines(row: RunRow, lines: Iterable[LogLine]) -> None:
    """Hand lines of workflow code to the program's handlers; their turn has kept them."""
    levels = logging.getLevelNamesMapping()
    ids = run_ids(row)
    for line in lines:
        level, text = line
        _run_logger.log(levels.get(level, logging.INFO), "%s", text, extra={**line.extra, **ids})


def about(record: logging.LogRecord) -> Mapping[str, Any]:
    """Which run a line is about: ids, workflow, step and attempt, as far as they are known."""
    if not _is_own(record.name):
        running = current_step.get(None)
        if running is not None:
            info = running.info()
            return {
                "workflow_id": info.workflow_id,
                "run_id": info.run_id,
                "workflow": info.workflow,
                "step": info.step,
                "attempt": info.attempt,
            }
    known = ("workflow_id", "run_id", "workflow", "step", "attempt")
    return {name: getattr(record, name) for name in known if getattr(record, name, None) is not None}


class HumanFormatter(logging.Formatter):
    """``14:02:11 INFO    deploy-1 charge: paid 12 EUR``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it."""
        ids = about(record)
        where = " ".join(str(ids[name]) for name in ("workflow_id", "step") if name in ids)
        at = datetime.fromtimestamp(record.created).astimezone()
        text = f"{at:%H:%M:%S} {record.levelname:<7} {where}{': ' if where else ''}{text_of(record)}"
        return f"{text}\n{self.formatStack(record.stack_info)}" if record.stack_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at``, ``level``, ``logger``, ``message``, the run's ids, ``error``, any ``extra=``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **about(record),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        for name, value in vars(record).items():
            if name not in STANDARD_FIELDS and name not in fields:
                fields[name] = value
        return json.dumps(fields, ensure_ascii=False, default=str)


class StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever ``sys.stderr`` is at the time, so that a live display can take it over."""

    def __init__(self, log_format: LogFormat = "auto") -> None:
        logging.Handler.__init__(self)
        is_human = sys.stderr.isatty() if log_format == "auto" else log_format == "human"
        self.setFormatter(HumanFormatter() if is_human else JsonFormatter())

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The stream of now."""
        return sys.stderr


def configure_logging(level: str, log_format: LogFormat = "auto") -> None:
    """Show log lines on standard error: for people on a terminal, JSON elsewhere, unless the format is given.

    Args:
        level: name of the lowest level that is shown.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, StandardErrorHandler)]:
        root.removeHandler(handler)
    root.addHandler(StandardErrorHandler(log_format))
    root.setLevel(level.upper())
