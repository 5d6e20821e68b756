"""What a worker tells of a store that is not available: once, now and then again, and that it is over."""

from __future__ import annotations

import logging

import pytest
from semantics.clock import HeldClock

from durable.errors import StoreUnavailableError
from runtime.worker.outage import REMINDER_US, Outage


def test_outage_is_told_once_and_now_and_then_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = HeldClock()
    outage = Outage(clock)
    with caplog.at_level(logging.INFO, "durable.worker"):
        outage.over()
        outage.tell(StoreUnavailableError("the disk is full"))
        outage.tell(StoreUnavailableError("the disk is full"))
        assert len(caplog.messages) == 1
    assert "the disk is full" in caplog.messages[0]


@pytest.mark.anyio
async def test_end_of_an_outage_is_told_with_its_length(caplog: pytest.LogCaptureFixture) -> None:
    clock = HeldClock()
    outage = Outage(clock)
    with caplog.at_level(logging.INFO, "durable.worker"):
        for _ in range(3):
            outage.tell(StoreUnavailableError("locked"))
            clock.advance(REMINDER_US / 2e6)
        outage.over()
        outage.over()
        outage.tell(StoreUnavailableError("locked"))
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "the store is not available, trying again",
        "the store is not available, trying again",
        "the store is available again, after 45 s",
        "the store is not available, trying again",
    ]
