"""The arithmetic of retries, against exact fractions."""

from __future__ import annotations

import datetime as dt
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from durable import RetryPolicy
from durable.duration import to_us
from durable.errors import DefinitionError

INTERVALS = st.one_of(
    st.just(0), st.integers(0, 10**6), st.floats(0, 10**6), st.timedeltas(dt.timedelta(0), dt.timedelta(days=365))
)
ATTEMPTS = st.one_of(st.integers(1, 20), st.integers(1, 10**9))
SHARES = st.floats(0, 1)


@st.composite
def policies(draw: st.DrawFn, jitter: st.SearchStrategy[float] = SHARES) -> RetryPolicy:
    """Valid policies."""
    initial, longest = sorted((draw(INTERVALS), draw(INTERVALS)), key=to_us)
    return RetryPolicy(
        max_attempts=draw(st.none() | st.integers(1, 10)),
        initial_interval=initial,
        backoff=draw(st.one_of(st.just(1.0), st.integers(1, 10), st.floats(1, 1e6), st.just(math.inf))),
        max_interval=longest,
        jitter=draw(jitter),
    )


STEADY = policies(st.just(0.0))


@given(STEADY, ATTEMPTS)
def test_delay_grows_by_its_factor_up_to_its_limit(policy: RetryPolicy, attempt: int) -> None:
    delay, limit, initial = policy.delay_us(attempt), to_us(policy.max_interval), to_us(policy.initial_interval)
    assert initial <= delay <= limit
    assert delay <= policy.delay_us(attempt + 1)
    assert policy.delay_us(1) == initial
    if initial == 0 or policy.backoff == 1:
        assert delay == initial
    if attempt <= 20 and math.isfinite(policy.backoff):
        exact = min(Fraction(limit), initial * Fraction(policy.backoff) ** (attempt - 1))
        assert delay == pytest.approx(float(exact), rel=1e-9, abs=1)


@given(policies(), ATTEMPTS, SHARES, SHARES)
def test_jitter_only_shortens_the_delay_and_by_no_more_than_its_share(
    policy: RetryPolicy, attempt: int, spread: float, wider: float
) -> None:
    spread, wider = sorted((spread, wider))
    whole, delay = policy.delay_us(attempt, 0.0), policy.delay_us(attempt, spread)
    assert 0 <= policy.delay_us(attempt, wider) <= delay <= whole
    assert delay >= whole * (1 - policy.jitter) - 1
    assert 0 <= policy.delay_us(attempt) <= whole


class ShopError(Exception):
    """A base of the user's."""


class DeclinedError(ShopError):
    """Its child."""


@given(policies(), ATTEMPTS)
def test_attempts_are_allowed_up_to_their_number(policy: RetryPolicy, attempt: int) -> None:
    expected = policy.max_attempts is None or attempt < policy.max_attempts
    assert policy.allows(attempt, DeclinedError()) is expected


@given(
    st.sampled_from([DeclinedError, ShopError, Exception, "DeclinedError", "ShopError", f"{__name__}.ShopError"]),
    st.sampled_from([ValueError, "ValueError", "Shop", "", "declinederror"]),
)
def test_error_that_is_not_retryable_ends_the_step_at_once(kind: Any, other: Any) -> None:
    assert not RetryPolicy(None, non_retryable=[other, kind]).allows(1, DeclinedError())
    assert RetryPolicy(None, non_retryable=[other]).allows(1, DeclinedError())


INVALID = {
    "max_attempts": st.one_of(st.integers(max_value=0), st.floats(), st.just("5")),
    "initial_interval": st.one_of(
        st.floats(max_value=-1e-5), st.integers(max_value=-1), st.just(math.nan), st.just("1")
    ),
    "backoff": st.one_of(st.floats(max_value=1, exclude_max=True), st.just(math.nan)),
    "max_interval": st.one_of(st.floats(-10, 0.9), st.just(math.inf), st.just(dt.timedelta(milliseconds=999))),
    "jitter": st.one_of(st.floats(max_value=0, exclude_max=True), st.floats(1, exclude_min=True), st.just(math.nan)),
    "non_retryable": st.sampled_from(["ValueError", [1], [int], [ValueError()]]),
}


@given(st.data(), st.sampled_from(sorted(INVALID)))
def test_policy_that_makes_no_sense_is_refused_where_it_is_defined(data: st.DataObject, field: str) -> None:
    value = data.draw(INVALID[field], label=field)
    with pytest.raises(DefinitionError, match=field):
        RetryPolicy(**{field: value})


@given(policies())
def test_policy_is_recorded_as_it_is(policy: RetryPolicy) -> None:
    assume(math.isfinite(policy.backoff))
    again = RetryPolicy(**policy.to_json())
    assert abs(to_us(again.initial_interval) - to_us(policy.initial_interval)) <= 1
    assert (again.max_attempts, again.backoff, again.jitter) == (policy.max_attempts, policy.backoff, policy.jitter)
