"""Why a run is as it is, in words: how it ended, and what halted its rollback after that."""

from __future__ import annotations

from typing import Final

_HALTED: Final = "its rollback cannot go on: "


def with_halt(reason: str | None, why: str) -> str:
    """The reason of a closed run whose rollback was halted, by code that must be mended, in place of an earlier halt.

    Args:
        reason: why the run is closed, if that is known.
        why: what halted its rollback.
    """
    own = without_halt(reason)
    return f"{own}\n{_HALTED}{why}" if own else f"{_HALTED}{why}"


def without_halt(reason: str | None) -> str | None:
    """Why the run is closed."""
    return (reason or "").partition(_HALTED)[0].removesuffix("\n") or None


def halt_of(reason: str | None) -> str | None:
    """What halted the rollback of a closed run; None if nothing did."""
    return (reason or "").partition(_HALTED)[2] or None
