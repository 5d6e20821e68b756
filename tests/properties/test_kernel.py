"""Random programs in a random world: a run that is replayed is the run that was kept (rules K1 to K6, L3, L6, L7)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_model.elsewhere import Elsewhere
from kernel_model.program import Node, programs
from kernel_model.snapshot import forget, replay, snapshot
from kernel_model.world import SECOND, World

from durable.history import EventKind, split_batches

SALTS = st.integers(0, 2**16 - 1)
LATER = st.sampled_from([0, 1, SECOND // 2, SECOND, 2 * SECOND])
EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
# A program that is closed while it starts tasks leaves coroutines behind that never began.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


def live(data: st.DataObject, program: Node, salt: int) -> World:
    """A run that was given random facts for a while."""
    world = World(program, salt, data.draw(st.none() | st.integers(1, 5), label="timeout"))
    for _ in range(data.draw(st.integers(0, 12), label="turns")):
        facts = data.draw(st.lists(st.sampled_from(world.possible_facts()), max_size=3), label="facts")
        world.turn(facts, data.draw(LATER, label="later"))
    return world


@EXAMPLES
@given(data=st.data(), program=programs(), salt=SALTS)
def test_run_goes_on_after_a_replay_as_if_it_had_stayed_in_memory(
    data: st.DataObject, program: Node, salt: int
) -> None:
    world = live(data, program, salt)  # compares after every turn
    world.close()


@EXAMPLES
@given(data=st.data(), program=programs(), salt=SALTS)
def test_run_ends_once_everything_that_it_waits_for_has_happened(data: st.DataObject, program: Node, salt: int) -> None:
    world = live(data, program, salt)
    world.settle()
    ended = len(world.history)
    facts = [fact for fact in world.possible_facts() if fact.kind != EventKind.ROLLBACK_REQUESTED]
    world.turn(facts, 3600 * SECOND)
    assert len(world.history) == ended, "a run that is over took something more"
    world.close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as child:
        yield child


@EXAMPLES
@given(data=st.data(), program=programs(), salt=SALTS)
def test_replay_of_any_prefix_in_another_process_leads_to_the_same(
    elsewhere: Elsewhere, data: st.DataObject, program: Node, salt: int
) -> None:
    world = live(data, program, salt)
    batches = list(split_batches(world.history))
    prefix = [event for batch in batches[: data.draw(st.integers(1, len(batches)), label="batches")] for event in batch]
    here = replay(prefix)
    assert elsewhere.snapshot(prefix) == json.loads(json.dumps(snapshot(here)))
    if len(prefix) == len(world.history):
        assert snapshot(here) == snapshot(world.kept)
    forget(here)
    world.close()
