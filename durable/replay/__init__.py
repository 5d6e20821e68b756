"""Recorded histories held against the code as it is now: does it replay, do the recorded values still fit, where does it stand.

    recording   one run as data: its names, its events, its blobs
    check       ``replay_history``, ``replay_recording``: the strict replay of one run, and what came of it
    drift       recorded values that today's annotations do not take any more
    report      what is found: breakages and misfits, alike ones together
    file        a recording as a readable JSON file that is checked by its hashes
    disclosure  a recording without its payload codecs
    standstill  where the code of a replayed run stands: the frames of its coroutines

Nothing here reads a store, writes anything or runs a step. ``durable replay``, ``export`` and ``debug`` are built on it, and a test
harness may be as well.
"""

from durable.replay.check import replay_history, replay_recording
from durable.replay.recording import Recording
from durable.replay.report import Breakage, BreakageKind, Misfit, ReplayReport

__all__ = [
    "Breakage",
    "BreakageKind",
    "Misfit",
    "Recording",
    "ReplayReport",
    "replay_history",
    "replay_recording",
]
