"""kill -9 at every commit point, before and after: the run ends as without it (semantics 43).

Every point of every shape; ``DURABLE_CRASH_POINTS=8`` takes that many of each, evenly spread, for a quick look.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crash.corpus import SHAPES
from crash.verdict import Record, differences

POINTS = os.environ.get("DURABLE_CRASH_POINTS", "all")
TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize("name", SHAPES)
def test_killed_run_ends_as_if_nothing_had_happened(name: str, tmp_path: Path) -> None:
    """Semantics 43: kill -9 at every commit point, before and after: the run ends as without it."""
    command = [sys.executable, "-m", "crash.campaign", name, str(tmp_path), POINTS]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DURABLE_")}
    campaign = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, check=False)
    assert campaign.returncode == 0, campaign.stderr
    lives = json.loads((tmp_path / "lives.json").read_text())["lives"]
    undisturbed = Record(tmp_path / "undisturbed")
    assert undisturbed.outcome == SHAPES[name].outcome
    assert undisturbed.effects or undisturbed.report["rows"]
    wrong = {
        point: found
        for point, ends in lives.items()
        if (found := list(differences(undisturbed, tmp_path / point, ends)))
    }
    assert not wrong, f"{json.dumps(wrong, indent=1)}\n{campaign.stderr}"
    reached = [point for point, ends in lives.items() if len(ends) > 1]
    assert len(reached) > len(lives) / 2, f"too few of the points were reached: {lives}"
