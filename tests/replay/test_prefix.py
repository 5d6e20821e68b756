"""Replaying any prefix of a history that ends at a batch leads to the same place, and from there to the same commands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from durable.errors import DeterminismError, NondeterminismError
from durable.history import EventKind, split_batches, verify_chain
from replay.corpus import SHAPES, record
from replay.prefix import check_what_follows, cuts, facts_of, load, replayer_of, state_of, worker_of


def test_the_corpus_has_the_shapes_that_matter():
    wanted = {
        "sequential", "parallel_gather", "task_group", "anyio_group", "retrying", "timers", "signals", "updates", "children",
        "continue_as_new", "at_most_once", "cancelled", "waiting_for_a_person", "compensation",
    }  # fmt: skip
    assert wanted <= set(SHAPES)
    told_of = {event.kind for name in SHAPES for recording in record(name) for event in recording.history}
    assert set(EventKind) == told_of


@pytest.mark.parametrize("name", SHAPES)
def test_every_prefix_leads_to_the_same_commands(name):
    """Semantics 37: replaying any prefix of a history gives the same commands."""
    for recording in record(name):
        verify_chain(recording.history)
        for prefix, batch in cuts(recording):
            check_what_follows(recording, prefix, batch)


@pytest.mark.parametrize("name", SHAPES)
def test_every_prefix_leads_to_the_same_place_as_living_through_it(name):
    """Semantics 37: a run that was replayed up to a batch stands where the one stands that lived through the batch."""
    for recording in record(name):
        for prefix, batch in cuts(recording):
            lived = load(recording, prefix)
            activation = lived.activate(facts_of(batch), batch[0].at_us, worker_of(batch), recording.blobs)
            replayed = load(recording, [*prefix, batch])
            if len(activation.events) == len(batch):  # else it lived through the next one as well
                assert state_of(replayed) == state_of(lived)
            again = load(recording, [*prefix, batch])
            assert state_of(again) == state_of(replayed)
            for replayer in (lived, replayed, again):
                replayer.evict()


@pytest.mark.parametrize("name", SHAPES)
def test_replay_says_nothing_and_warns_of_nothing(name):
    """Semantics 37: replay writes nothing, logs nothing, calls nothing."""
    for recording in record(name):
        replayer = load(recording, list(split_batches(recording.history)))
        assert (replayer.logs, replayer.warnings, replayer.loop.complaints) == ([], [], [])
        assert replayer.payloads.envelope.take_blobs() == {}
        replayer.evict()


@pytest.mark.parametrize("name", SHAPES)
def test_a_history_that_is_not_this_workflows_is_found_out(name):
    """The tests above can fail: another shape's code does not pass for this one's."""
    recording = record(name)[0]
    other = SHAPES["sequential" if name != "sequential" else "retrying"].definition
    [start, *_] = recording.history
    payload = record(other.name)[0].history[0].payload
    history = [start._replace(payload=payload), *recording.history[1:]]
    replayer = replayer_of(replace(recording, definition=other))
    with pytest.raises((NondeterminismError, DeterminismError)):
        replayer.load(history, recording.blobs)
    replayer.evict()
