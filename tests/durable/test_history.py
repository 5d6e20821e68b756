"""A history's wire form and chain: what is damaged is found, with its place (rule H1)."""

from __future__ import annotations

import pytest

from durable.errors import HistoryCorruptedError
from durable.history import EventKind, Recorder, parse_detail, verify_chain


def history():
    recorder = Recorder()
    for at_us in (1, 2, 3):
        recorder.begin_batch(at_us)
        yield recorder.append(EventKind.TIMER_FIRED, "kernel", 1, None, None, None)


def test_an_event_that_is_missing_is_found():
    first, _, third = history()
    with pytest.raises(HistoryCorruptedError, match="expected event 2, got 3"):
        verify_chain([first, third])


def test_the_end_of_a_history_verifies_from_where_it_begins():
    first, second, third = history()
    verify_chain([first, second, third])
    with pytest.raises(HistoryCorruptedError, match="expected event 1, got 2"):
        verify_chain([second, third])


@pytest.mark.parametrize(("detail", "words"), [("{", "is not JSON: "), ("[1]", "is not a JSON object")])
def test_a_detail_that_cannot_be_read_is_damage(detail, words):
    with pytest.raises(HistoryCorruptedError, match=words):
        parse_detail(detail)


def test_no_detail_has_no_fields():
    assert parse_detail(None) == {}
