"""What a client without the code of a workflow is told when that code raises."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from durable.cause import rebuild_cause, rebuild_reply, summarize_cause
from durable.codec import record_exception
from durable.errors import QueryFailedError, StepError, UpdateFailedError


@pytest.fixture
def sold_out(monkeypatch: pytest.MonkeyPatch) -> str:
    """The record of an exception whose module this process cannot import."""
    shop: Any = ModuleType("shop_of_the_worker")
    with monkeypatch.context() as worker:
        worker.setitem(sys.modules, shop.__name__, shop)
        exec("class SoldOut(Exception): pass", vars(shop))
        return record_exception(shop.SoldOut("no more"))


@pytest.mark.parametrize("wrap", [QueryFailedError, UpdateFailedError])
def test_failed_message_is_told_without_the_class_that_was_raised(sold_out: str, wrap: type[Exception]) -> None:
    error = rebuild_reply((), sold_out, wrap, "message 'x'")  # type: ignore[arg-type]
    assert type(error) is wrap
    assert "message 'x' failed: shop_of_the_worker.SoldOut: no more" in str(error)
    assert isinstance(error.__cause__, StepError)


def test_class_that_is_missing_here_is_named_with_what_it_said(sold_out: str) -> None:
    cause = rebuild_cause(sold_out, ())
    assert isinstance(cause, StepError)
    assert (cause.error_type, cause.message) == ("shop_of_the_worker.SoldOut", "no more")
    assert any("cannot be rebuilt here" in note for note in cause.__notes__)
    assert summarize_cause(cause) == "shop_of_the_worker.SoldOut: no more"


def test_class_that_is_here_is_rebuilt() -> None:
    cause = rebuild_cause(record_exception(ValueError("too small")), ())
    assert type(cause) is ValueError
    assert summarize_cause(cause) == "ValueError: too small"
