"""Every run of a test is replayed, strictly: a workflow that is not deterministic fails its first unit test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.errors import DeterminismError
from durable.testing.simulated import SimulatedRun

if TYPE_CHECKING:
    from durable.testing.fulfiller import Fulfiller


def replay_strictly(host: Fulfiller, run: SimulatedRun) -> BaseException | None:
    """Replay a run's history here; returns what differed. An input that differs is an error as well (rule K6)."""
    replayer = host.new_replayer(run, strict=True)
    try:
        replayer.load(run.history)
    except (Exception, DeterminismError) as error:  # noqa: BLE001 - whatever stops the replay
        return error
    finally:
        replayer.evict()
    return None
