"""Random programs in a random world: a run that is replayed is the run that was kept (rules K1 to K5, L3, L6, L7)."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_model.program import Node, programs
from kernel_model.snapshot import forget, replay, snapshot
from kernel_model.world import SECOND, World

SALTS = st.integers(0, 2**16 - 1)
LATER = st.sampled_from([0, 1, SECOND // 2, SECOND, 2 * SECOND])


def live(data: st.DataObject, program: Node, salt: int) -> World:
    """A run that was given random facts for a while."""
    world = World(program, salt, data.draw(st.none() | st.integers(1, 5), label="timeout"))
    for _ in range(data.draw(st.integers(0, 12), label="turns")):
        possible = world.possible_facts()
        facts = data.draw(st.lists(st.sampled_from(possible), max_size=3), label="facts")
        world.turn(facts, data.draw(LATER, label="later"))
    return world


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), program=programs(), salt=SALTS)
def test_replayed_run_goes_on_as_the_kept_one(data: st.DataObject, program: Node, salt: int) -> None:
    world = live(data, program, salt)
    world.settle()
    world.close()
