"""Where a crash can be put: the moments at which memory and record differ."""

from __future__ import annotations

from enum import StrEnum


class CrashPoint(StrEnum):
    """A moment in the life of a run."""

    BEFORE_COMMIT = "before the turn is durable"
    AFTER_COMMIT = "after the turn is durable, before its effects"
    AFTER_EFFECT = "between the effect of a step and its record"
