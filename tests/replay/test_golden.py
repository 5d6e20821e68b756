"""Golden histories of every behaviour version are replayed, strictly, on every Python (rule K9)."""

from __future__ import annotations

from typing import Any

import pytest

from durable.history import KERNEL_VERSION, split_batches, verify_chain
from replay.corpus import SHAPES
from replay.golden import ROOT, folder_of, read, versions
from replay.prefix import check_what_follows, cuts, load, turns

GOLDEN = [
    pytest.param(version, path.stem, id=f"v{version}-{path.stem}")
    for version in versions()
    for path in sorted(folder_of(version).glob("*.json"))
]


def test_k9_the_current_behaviour_version_has_a_history_of_every_shape():
    kept = {path.stem for path in folder_of(KERNEL_VERSION).glob("*.json")}
    assert kept == set(SHAPES), "record what is missing by: cd tests && python -m replay.golden"
    assert versions() == list(range(1, KERNEL_VERSION + 1))


@pytest.mark.parametrize(("version", "name"), GOLDEN)
def test_k9_a_golden_history_is_whole_and_of_its_version(version, name):
    for recording in read(version, name):
        verify_chain(recording.history)
        assert recording.history[0].details["kernel"] == version
        assert str(ROOT) not in str(recording.history)


@pytest.mark.parametrize(("version", "name"), GOLDEN)
def test_k9_a_golden_history_is_replayed_to_its_end_without_a_difference(version, name):
    for recording in read(version, name):
        replayer = load(recording, list(split_batches(recording.history)))
        last = recording.history[-1]
        assert (replayer.recorder.seq, replayer.recorder.hash) == (last.seq, last.hash)
        assert (replayer.logs, replayer.warnings, replayer.loop.complaints) == ([], [], [])
        replayer.evict()


@pytest.mark.parametrize(("version", "name"), GOLDEN)
def test_k9_every_turn_of_a_golden_history_would_come_out_the_same_today(version, name):
    for recording in read(version, name):
        for prefix, events in [*cuts(recording), *turns(recording)]:
            check_what_follows(recording, prefix, events)


def newest_first(replayer: Any) -> None:
    """Another scheduling rule: what became ready last runs first."""
    ready = replayer.loop._ready

    class Backwards(type(ready)):
        def popleft(self):
            return self.pop()

    replayer.loop._ready = Backwards(ready)


def test_k9_a_change_of_scheduling_is_found(monkeypatch):
    """The tests above can fail: another order of callbacks is not what these histories were made by."""
    from replay import prefix

    replayer_of = prefix.replayer_of

    def other(recording):
        replayer = replayer_of(recording)
        newest_first(replayer)
        return replayer

    monkeypatch.setattr(prefix, "replayer_of", other)
    found = set()
    for name in SHAPES:
        for recording in read(KERNEL_VERSION, name):
            try:
                for before, batch in cuts(recording):
                    check_what_follows(recording, before, batch)
            except Exception:
                found.add(name)
    assert {"task_group", "sets_of_tasks", "locks_and_queues", "scopes_and_streams"} <= found
