"""Timers of a run: which are due, and what is left of those that were taken back."""

from __future__ import annotations

import random

from durable.kernel.timers import Timers


def test_deadlines_that_were_taken_back_do_not_pile_up() -> None:
    timers = Timers()
    timers.set(1, 10)
    for number in range(2, 10_002):
        timers.set(number, 3_600_000_000 + number)
        assert timers.clear(number)
        assert not timers.clear(number)
    assert len(timers._heap) < 50
    assert timers.next_us() == 10


def test_what_was_taken_back_changes_neither_order_nor_times() -> None:
    timers = Timers()
    chance = random.Random(4)
    live: dict[int, int] = {}
    for number in range(1, 2_000):
        live[number] = chance.randrange(500)
        timers.set(number, live[number])
        if chance.random() < 0.7:
            gone = chance.choice(list(live))
            del live[gone]
            assert timers.clear(gone)
        assert timers.next_us() == min(live.values(), default=None)
    early = [(at_us, number) for number, at_us in live.items() if at_us <= 250]
    assert timers.take_due(250) == [number for _, number in sorted(early)]
    late = [(at_us, number) for number, at_us in live.items() if at_us > 250]
    assert timers.take_due(500) == [number for _, number in sorted(late)]
    assert not timers
