"""The steps that the shapes have in common: effects on a world that no crash undoes."""

from __future__ import annotations

from crash.ledger import effect
from durable import step


@step
async def act(label: str) -> str:
    """The plain step: one effect."""
    effect(label)
    return label.upper()


@step
async def undo(label: str) -> None:
    """The compensation of ``reserve``."""
    effect(f"undo {label}")


@step(compensate=undo)
async def reserve(label: str) -> str:
    """A step that can be undone."""
    effect(label)
    return label


@step
async def refuse(label: str) -> None:
    """A step that fails for good."""
    effect(label)
    raise ValueError(label)
