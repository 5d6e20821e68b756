"""Progress of a run: a live display on a terminal, log lines elsewhere, JSON events for programs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from durable.timeline.entry import EntryKind, TimelineEntry
from durable.timeline.line import entry_lines, is_telling
from durable.timeline.text import plain_text, show_duration
from runtime.cli.output import Output, rich_text
from runtime.cli.text import visible
from runtime.cli.timeline import entry_fields
from runtime.worker.logs import run_ids

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from durable.timeline.timeline import Timeline
    from runtime.store.row import RunRow

log = logging.getLogger("durable.run")

MAX_LINES: Final = 20
"""Ended operations that are told one by one, if many end at once."""

SHOWN_ENDED: Final = 12
SHOWN_OPEN: Final = 8


def _worth_telling(ended: Sequence[TimelineEntry]) -> list[TimelineEntry]:
    return [entry for entry in ended if entry.kind is not EntryKind.RUN and is_telling(entry)]


class LoggedProgress:
    """Tells every operation that ends: as a log line, or as an event for programs.

    Args:
        since: what ended before is not told.
    """

    wants_attempts = False

    def __init__(self, output: Output, since: datetime) -> None:
        self._output = output
        self._since = since

    def show(self, row: RunRow, _timeline: Timeline, ended: Sequence[TimelineEntry]) -> None:
        """Tell what is new."""
        told = [e for e in _worth_telling(ended) if e.ended_at and e.ended_at >= self._since]
        if self._output.as_json:
            for entry in told:
                self._output.event("entry", **entry_fields(entry))
            return
        for entry in told[:MAX_LINES]:
            words = visible(plain_text(*next(entry_lines(entry)))).strip().partition("  ")[2]
            log.info("%s", words, extra=run_ids(row))
        if len(told) > MAX_LINES:
            log.info("and %d more ended", len(told) - MAX_LINES, extra=run_ids(row))

    def tick(self) -> None:
        """Time has passed."""

    def note(self, text: str) -> None:
        """A remark."""
        self._output.note(text)

    def pause(self) -> None:
        """Let somebody else have the terminal."""

    def resume(self) -> None:
        """Take it back."""

    def close(self) -> None:
        """It is over."""


class LiveProgress:
    """The newest operations, those that go on, and what is waited for, redrawn in place."""

    wants_attempts = True

    def __init__(self, output: Output) -> None:
        self._output = output
        self._ended: deque[TimelineEntry] = deque(maxlen=SHOWN_ENDED)
        self._count = 0
        self._live: Live | None = None
        self._is_paused = False
        self._state: tuple[RunRow, Timeline] | None = None

    def show(self, row: RunRow, timeline: Timeline, ended: Sequence[TimelineEntry]) -> None:
        """Redraw."""
        told = _worth_telling(ended)
        self._count += len(told)
        self._ended.extend(told)
        self._state = (row, timeline)
        if self._is_paused:
            return
        if self._live is None:
            self.resume()
        self.tick()

    def tick(self) -> None:
        """Redraw what time has changed."""
        if self._live is not None:
            self._live.refresh()

    def note(self, text: str) -> None:
        """A remark."""
        self._output.console.print(visible(text))

    def pause(self) -> None:
        """Leave the last picture, and let somebody else have the terminal."""
        self._is_paused = True
        self._stop()

    def resume(self) -> None:
        """Draw again, below what was printed meanwhile."""
        from rich.live import Live

        self._is_paused = False
        if self._live is None:
            # without a thread of its own, which would draw what the event loop is just changing
            self._live = Live(
                get_renderable=self._draw, console=self._output.console, auto_refresh=False, transient=True
            )
            self._live.start(refresh=True)

    def close(self) -> None:
        """Leave the last picture, with how it ended."""
        self._stop()
        if self._state is not None:
            self._output.console.print(self._draw())

    def _stop(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _draw(self) -> RenderableType:
        from rich.console import Group

        lines: list[Any] = []
        if self._count > len(self._ended):
            lines.append(rich_text((f"          {self._count - len(self._ended)} more before", "dim")))
        for entry in self._ended:
            lines.extend(rich_text(*line) for line in entry_lines(entry))
        if self._state is not None:
            row, timeline = self._state
            going = timeline.open
            for entry in going[:SHOWN_OPEN]:
                lines.extend(rich_text(*line) for line in entry_lines(entry))
            if len(going) > SHOWN_OPEN:
                lines.append(rich_text((f"          and {len(going) - SHOWN_OPEN} more go on", "dim")))
            lines.append(rich_text(*self._summary(row, timeline)))
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)

    def _summary(self, row: RunRow, timeline: Timeline) -> list[Any]:
        began = timeline.entries[0].began_at if timeline.entries else datetime.now(UTC)
        ended = timeline.entries[0].ended_at if timeline.entries else None
        status = row.status.value
        text = f"  {show_duration((ended or datetime.now(UTC)) - began)}, {self._count} done"
        waiting = f", waiting for {row.waiting_for}" if row.waiting_for else ""
        return [(status, status), text, waiting]
