"""Small texts for people: cells with styles, one line of many, durations and instants."""

from __future__ import annotations

from datetime import datetime, timedelta

from durable.duration import format_duration, to_us

Cell = str | tuple[str, str]
"""Text, or text and the name of a style: of a status, ``dim`` or ``strong``."""


def plain_text(*cells: Cell) -> str:
    """Cells without their styles."""
    return "".join(cell if isinstance(cell, str) else cell[0] for cell in cells)


def shorten(text: str, limit: int = 80) -> str:
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def show_duration(duration: timedelta) -> str:
    """A duration for people: ``0 ms``, ``12 ms``, ``1.5 s``, ``3 min``."""
    if duration < timedelta(seconds=1):
        return f"{max(0, round(duration / timedelta(milliseconds=1)))} ms"
    return format_duration(to_us(duration))


def show_instant(at: datetime | None) -> str:
    """A time of the local zone for people, empty for none."""
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
