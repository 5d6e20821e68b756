"""Durations and instants: nothing is lost but less than a microsecond, and never in the direction of too early (K8)."""

from __future__ import annotations

import datetime as dt
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.duration import MICROSECONDS, format_duration, instant_us, optional_us, to_instant, to_us
from durable.errors import DefinitionError

LONGEST = 1_000 * 366 * 86_400
SECONDS = st.floats(-LONGEST, LONGEST, exclude_min=True, exclude_max=True)
SPANS = st.timedeltas(dt.timedelta(days=-300_000), dt.timedelta(days=300_000))
LIFETIMES = st.timedeltas(dt.timedelta(days=-36_500), dt.timedelta(days=36_500))
DURATIONS = st.one_of(st.integers(1 - LONGEST, LONGEST - 1), SECONDS, SPANS)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
INSTANTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=ZONES)


def exact_us(duration: Any) -> Fraction:
    """What a duration means, without rounding."""
    if isinstance(duration, dt.timedelta):
        return Fraction((duration.days * 86_400 + duration.seconds) * MICROSECONDS + duration.microseconds)
    return Fraction(duration) * MICROSECONDS


@given(DURATIONS)
def test_duration_is_rounded_up_by_less_than_a_microsecond(duration: Any) -> None:
    exact, rounded = exact_us(duration), to_us(duration)
    noise = abs(exact) * Fraction(1, 2**52)  # of one multiplication of floats
    assert -noise <= rounded - exact < 1 + noise
    if not isinstance(duration, float):
        assert rounded == exact


@given(st.lists(DURATIONS, min_size=2, max_size=2).map(lambda pair: sorted(pair, key=exact_us)))
def test_longer_duration_is_never_shorter_in_microseconds(pair: list[Any]) -> None:
    shorter, longer = pair
    if type(shorter) is type(longer):
        assert to_us(shorter) <= to_us(longer)


@given(LIFETIMES)
def test_timedelta_and_its_seconds_mean_the_same(span: dt.timedelta) -> None:
    assert abs(to_us(span) - to_us(span.total_seconds())) <= 1


@given(
    st.one_of(
        st.sampled_from(
            [math.nan, math.inf, -math.inf, True, False, None, "1", b"1", dt.timedelta.max, dt.timedelta.min]
        ),
        st.integers(min_value=LONGEST),
        st.integers(max_value=-LONGEST),
        st.floats(min_value=LONGEST, allow_nan=False),
    )
)
def test_what_is_no_duration_is_refused_by_name(value: Any) -> None:
    with pytest.raises(DefinitionError, match="expected delay to be"):
        to_us(value, "delay")


@given(DURATIONS)
def test_limit_is_positive_or_absent(duration: Any) -> None:
    assert optional_us(None, "timeout") is None
    if to_us(duration) > 0:
        assert optional_us(duration, "timeout") == to_us(duration)
    else:
        with pytest.raises(DefinitionError, match="expected timeout to be positive"):
            optional_us(duration, "timeout")


@given(INSTANTS, INSTANTS)
def test_instants_come_back_equal_and_in_order(first: dt.datetime, second: dt.datetime) -> None:
    assert to_instant(instant_us(first)) == first
    assert (first < second) == (instant_us(first) < instant_us(second))
    assert instant_us(second) - instant_us(first) == to_us_of_span(second - first)


def to_us_of_span(span: dt.timedelta) -> int:
    return int(exact_us(span))


@given(st.datetimes())
def test_naive_datetime_is_refused_with_the_fix(naive: dt.datetime) -> None:
    with pytest.raises(DefinitionError, match="give it a time zone"):
        instant_us(naive)


@given(st.integers(0, LONGEST * MICROSECONDS))
def test_deadline_of_any_duration_from_now_is_a_date(microseconds: int) -> None:
    assert to_instant(instant_us(dt.datetime(2100, 1, 1, tzinfo=dt.UTC)) + microseconds).year < 9999


@given(st.integers(0, LONGEST * MICROSECONDS))
def test_duration_in_words_is_right_within_a_percent(microseconds: int) -> None:
    number, unit = format_duration(microseconds).split()
    size = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}[unit]
    assert float(number) * size == pytest.approx(microseconds / MICROSECONDS, rel=0.01)
