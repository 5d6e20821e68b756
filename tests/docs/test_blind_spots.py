"""Rule G4: what the guard cannot see is written down."""

from __future__ import annotations

from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "determinism.md"


@pytest.mark.parametrize("blind_spot", ["functools.partial", "default_factory", "key=", "other modules", "audit event"])
def test_blind_spot_of_the_guard_is_on_the_page(blind_spot: str) -> None:
    section = PAGE.read_text().partition("## What the guard cannot see")[2].partition("\n## ")[0]
    assert blind_spot.lower() in section.lower()
