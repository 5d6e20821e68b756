"""What is no workflow, step or message is refused where it is declared, in words that say what to write instead."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from durable import Context, DefinitionError, Query, RetryPolicy, Signal, Update, step, workflow
from durable.attempt import heartbeat, step_info
from durable.step import StepDefinition, as_step, step_name
from durable.workflow import WorkflowDefinition


async def work(number: int) -> int:
    return number


@step
async def declared(number: int) -> int:
    return number


@workflow
async def known(ctx: Context, number: int) -> int:
    return number


def not_async(ctx: Context) -> None: ...


async def without_context() -> None: ...


async def keywords_only(*, ctx: Context) -> None: ...


class Callable:
    def __call__(self, number: int) -> int:
        return number


class Unhashable(Callable):
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: workflow(not_async), "an async function, got 'not_async'; write: async def"),
        (lambda: workflow(without_context), "takes no context; write: async def without_context"),
        (lambda: workflow(keywords_only), "takes no context"),
        (lambda: workflow(known), "which is declared already"),
        (lambda: workflow(declared), "which is declared already"),
        (lambda: workflow(name="")(known.fn), "the name of a workflow to be a non-empty text"),
        (lambda: workflow(name="a\0b")(known.fn), "the name of a workflow to be a non-empty text"),
        (lambda: workflow(on_unfinished="forget")(known.fn), "on_unfinished to be 'wait' or 'abandon', got 'forget'"),
        (lambda: workflow(default_retry=3)(known.fn), "default_retry to be a RetryPolicy, got 3"),
        (lambda: workflow(messages=["go"])(known.fn), "Signal, Query and Update objects, got 'go'"),
        (
            lambda: workflow(messages=[Signal("go", int), Signal("go", str)])(known.fn),
            "two messages are called 'go'",
        ),
        (lambda: workflow(timeout=0)(known.fn), "timeout to be positive"),
        (lambda: known.options(on_conflict="ignore"), "on_conflict to be 'attach', 'fail' or 'replace', got 'ignore'"),
        (lambda: known.options(on_parent_close="wait"), "'terminate', 'cancel' or 'abandon', got 'wait'"),
        (lambda: known.options(delay=-1), "delay not to be negative, got -1"),
        (lambda: Signal(""), "the name of a signal to be a non-empty text"),
        (lambda: Query(7), "the name of a query to be a non-empty text, got 7"),
    ],
)
def test_what_is_no_workflow_is_refused(declare, words):
    with pytest.raises(DefinitionError, match=words):
        declare()


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: StepDefinition(declared), "is a step already; use declared.options"),
        (lambda: as_step(known), "is a workflow, not a step; use ctx.child_workflow"),
        (lambda: step(7), "expected a function, got 7"),
        (lambda: step(work, name=""), "the name of a step to be a non-empty text"),
        (lambda: step(lambda: 1), "a lambda has no name to record"),
        (lambda: declared.options(retry=3), "retry to be a RetryPolicy, got 3"),
        (lambda: declared.options(isolation="fork"), "'auto', 'thread' or 'process', got 'fork'"),
        (lambda: declared.options(delivery="twice"), "'at_least_once' or 'at_most_once', got 'twice'"),
        (lambda: declared.options(compensate=7), "compensate to be a function or step, got 7"),
        (lambda: declared.options(timeout=-1), "timeout to be positive"),
        (lambda: declared.options(heartbeat_timeout=1, isolation="process"), "heartbeats do not leave the process"),
        (lambda: step(work, transactional=True, delivery="at_most_once"), "exactly once; remove delivery="),
        (lambda: step(work, transactional=True, isolation="process"), "runs in a thread"),
        (lambda: step(work, transactional=True, queue="far"), "runs where its run is; remove queue="),
    ],
)
def test_what_is_no_step_is_refused(declare, words):
    with pytest.raises(DefinitionError, match=words):
        declare()


def test_options_are_recorded_as_far_as_they_differ_from_the_defaults():
    definition = declared.options(
        timeout=timedelta(seconds=5), retry=RetryPolicy(max_attempts=2), compensate=work, queue="far"
    )
    options = definition.options_.to_json()
    assert (options["timeout"], options["queue"], options["compensate"]) == (5.0, "far", "work")
    assert options["retry"]["max_attempts"] == 2
    assert declared.options_.to_json() == {}


def test_a_callable_is_named_after_what_it_is():
    assert step_name(declared) == "declared"
    assert step_name(partial(partial(work), 1)) == "work"
    assert step_name(Callable()) == "Callable"


def test_a_plain_function_is_one_definition_as_long_as_it_is_remembered(monkeypatch):
    assert as_step(work) is as_step(work)
    unhashable = Unhashable()
    assert as_step(unhashable) is not as_step(unhashable)
    monkeypatch.setattr(sys.modules["durable.step"], "_PLAIN_LIMIT", 0)  # the name in the package is the decorator
    before = as_step(work)
    as_step(not_async)  # the memory is full, and begins anew
    assert as_step(work) is not before


class Shop:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @step
    async def price(self, number: int) -> int:
        return self.factor * number


def test_a_method_is_a_step_of_its_object():
    assert isinstance(Shop.price, StepDefinition)
    bound = Shop(3).price
    assert bound.name == Shop.price.name == "Shop.price"
    assert asyncio.run(bound(7)) == 21
    assert bound.arguments.encode((7,), {}) == '{"number":7}'


def test_definitions_called_directly_run_plainly():
    assert asyncio.run(declared(7)) == 7
    assert asyncio.run(known(None, 7)) == 7  # type: ignore[arg-type]


def test_definitions_say_what_they_are():
    assert (repr(declared), repr(known), repr(Signal("go", int))) == (
        "<step declared>",
        "<workflow known>",
        "<signal go>",
    )
    assert {Signal("go", int): 1}[Signal("go", int)] == 1
    assert Signal("go", int) != Update("go", int)


def test_what_a_step_knows_is_known_inside_of_a_step_only():
    with pytest.raises(LookupError, match="inside a running step"):
        step_info()
    heartbeat({"nobody": "listens"})


def test_start_options_of_a_call_leave_the_definition_as_it_was():
    chosen: WorkflowDefinition[Any, int] = known.options(id="x", delay=1, compensate=work)
    assert (chosen.start_options.id, chosen.start_options.delay) == ("x", 1)
    assert chosen.compensation is not None
    assert known.start_options.id is None
    assert known.compensation is None


@pytest.mark.parametrize("declare", [lambda: workflow(not_async), lambda: step(not_async, name="\ud800")])
def test_definition_that_is_refused_is_found_by_its_line(declare):
    line = not_async.__code__.co_firstlineno
    with pytest.raises(DefinitionError, match=rf"\(defined at test_definition\.py:{line}\)$"):
        declare()
