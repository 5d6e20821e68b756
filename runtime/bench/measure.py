"""One row of the report, and how a duration is taken."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A measured figure.

    Attributes:
        what: what was measured.
        value, unit: the figure.
        raw: the same rows in the same batches through the same driver, without the engine; or None.
        ratio: the figure against ``raw``, so that more is better for rates and less for durations; or None.
        budget: what is aimed at, in words.
    """

    what: str
    value: float
    unit: str
    budget: str
    raw: float | None = None
    ratio: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)

    def __str__(self) -> str:
        figure = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:,.2f}"
        raw = f"  raw {self.raw:,.0f} ({self.ratio:.2f} x)" if self.raw is not None else ""
        return f"{self.what:<58} {figure:>12} {self.unit:<10}{raw}  [{self.budget}]"


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    began = perf_counter()
    work()
    return perf_counter() - began


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)
