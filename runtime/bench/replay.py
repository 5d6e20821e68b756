"""Replay: a history that is made in memory, through the kernel alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from time import perf_counter

from durable.codec import Envelope
from durable.commands import ScheduleStep
from durable.history import Event, EventKind, Fact, write_detail
from durable.info import RunIdentity
from durable.kernel.replayer import Replayer
from durable.registry import Registry
from runtime.bench import workload
from runtime.bench.measure import Row

EVENTS = 50_000


def _replayer() -> Replayer:
    numbers = itertools.count()
    identity = RunIdentity("bench", "bench-run", "bench.steps", "bench-run", "bench-run")
    return Replayer(workload.steps, identity, registry=Registry([workload.steps]), ids=lambda: f"id-{next(numbers)}")


def make_history(steps: int) -> tuple[list[Event], list[float]]:
    """The history of a run with so many steps, and how long each turn took, in seconds."""
    replayer, envelope = _replayer(), Envelope()
    start = envelope.seal(workload.steps.arguments.encode((steps,), {}))
    facts = [Fact(EventKind.RUN_STARTED, detail=write_detail(seed="1", salt=1), payload=start)]
    history: list[Event] = []
    turns: list[float] = []
    now_us = 1
    while facts:
        began = perf_counter()
        activation = replayer.activate(facts, now_us, "bench")
        turns.append(perf_counter() - began)
        history += activation.events
        now_us += 1
        facts = [
            Fact(EventKind.STEP_COMPLETED, command.number, command.name, None, envelope.seal(str(now_us)))
            for command in activation.commands
            if isinstance(command, ScheduleStep)
        ]
    return history, turns


def measure_replay() -> Iterator[Row]:
    """Events a second, how soon a long run is back, and whether late steps cost more than early ones."""
    history, turns = make_history(EVENTS)
    events = history[:EVENTS]
    began = perf_counter()
    _replayer().load(events)
    elapsed = perf_counter() - began
    yield Row("replay", len(events) / elapsed, "events/s", "300,000")
    yield Row(f"a run of {len(events):,} events is back in", elapsed, "s", "0.3 s")
    early, late = sorted(turns[250:750])[250], sorted(turns[-500:])[250]
    yield Row(f"cost of step {EVENTS:,} against step 500", late / early, "x", "1.2 x")
