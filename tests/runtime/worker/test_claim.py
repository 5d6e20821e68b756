"""What becomes of a run that is found while something of it is under way."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.store.row import Claimed
from runtime.worker.claim import Claims
from runtime.worker.held import HeldRun


@pytest.mark.parametrize(("busy", "dirty"), [(True, False), (False, True)])
def test_run_that_has_or_gets_a_turn_reads_its_inbox_after_it(busy: bool, dirty: bool) -> None:
    """Read before, it would get a second turn beside the one that is not committed yet, and lose itself to that."""
    row: Any = SimpleNamespace(run_id="r", epoch=1)
    held = HeldRun(row, seq=3, epoch=1, is_busy=busy, is_dirty=dirty)
    refreshed: list[HeldRun] = []
    engine: Any = SimpleNamespace(held={"r": held}, loader=SimpleNamespace(refresh_soon=refreshed.append))
    asyncio.run(Claims(engine)._look_again(Claimed(row, [])))
    assert held.wants_inbox
    assert refreshed == []


def test_run_without_a_turn_reads_its_inbox_at_once() -> None:
    row: Any = SimpleNamespace(run_id="r", epoch=1)
    held = HeldRun(row, seq=3, epoch=1)
    refreshed: list[HeldRun] = []
    engine: Any = SimpleNamespace(held={"r": held}, loader=SimpleNamespace(refresh_soon=refreshed.append))
    asyncio.run(Claims(engine)._look_again(Claimed(row, [])))
    assert refreshed == [held]


class OneRunStore:
    """A store that says whose the run is."""

    def __init__(self, owner: str) -> None:
        self.row: Any = SimpleNamespace(run_id="r", owner=owner)

    async def get_run_by_id(self, run_id: str) -> Any:
        return self.row

    async def read_inbox(self, run_id: str) -> list[Any]:
        return ["message"]


@pytest.mark.parametrize(("owner", "expected"), [("me", ["r"]), ("another", [])])
def test_run_whose_commit_conflicted_is_taken_up_again_if_it_is_still_ours(
    monkeypatch: pytest.MonkeyPatch, owner: str, expected: list[str]
) -> None:
    """A worker that lost a run to itself would hold its lease and never look at it again."""
    admitted: list[Claimed] = []
    monkeypatch.setattr(Claims, "_admit", lambda self, claimed: admitted.append(claimed))
    engine: Any = SimpleNamespace(store=OneRunStore(owner), worker_id="me", held={})
    asyncio.run(Claims(engine)._look_after("r"))
    assert [claimed.run.run_id for claimed in admitted] == expected
