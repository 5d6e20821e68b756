"""Definitions by name: unique, found, and missed with a hint."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from durable import Context, DefinitionError, step, workflow
from durable.errors import MissingCodeError
from durable.registry import Registry


@step
async def charge(amount: int) -> int:
    return amount


async def plain(amount: int) -> int:
    return amount


class Till:
    async def open(self) -> None: ...


@workflow
async def order(ctx: Context) -> None: ...


@workflow(name="order")
async def another(ctx: Context) -> None: ...


@step(name="charge")
async def another_charge() -> None: ...


def test_a_workflow_brings_the_steps_of_its_module():
    registry = Registry([order])
    assert registry.workflow("order") is order
    assert registry.step("charge") is charge
    assert registry.modules() == [sys.modules[__name__]]


def test_the_same_definition_may_be_added_again():
    registry = Registry([order, order], [charge, charge])
    assert list(registry.workflows) == ["order"]
    registry.add_workflow(order.options(queue="far"))


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (
            lambda registry: registry.add_workflow(plain),
            "expected a workflow, got .*; decorate the function with @workflow",
        ),
        (
            lambda registry: registry.add_workflow(another),
            r"two workflows are called 'order': .*test_registry\.py:\d+ and",
        ),
        (
            lambda registry: registry.add_step(another_charge),
            r"two steps are called 'charge': .*give one of them a name=",
        ),
        (lambda registry: registry.add_step(step(len, name="charge")), r"and <built-in function len>"),
    ],
)
def test_what_is_no_workflow_or_has_a_name_that_is_taken_is_refused(add, words):
    with pytest.raises(DefinitionError, match=words):
        add(Registry([order]))


def test_what_is_not_known_is_named_with_what_is():
    registry = Registry([order])
    with pytest.raises(
        MissingCodeError, match=r"no workflow is called 'ordr'; did you mean 'order'\? \(known: order\)"
    ):
        registry.workflow("ordr")
    with pytest.raises(MissingCodeError, match=r"no step is called 'xyz' \(known: .*charge"):
        registry.step("xyz")
    with pytest.raises(MissingCodeError, match=r"no workflow is called 'order' \(known: none\)"):
        Registry().workflow("order")


def test_a_plain_function_of_a_known_module_is_found_by_its_qualified_name():
    registry = Registry([order])
    assert registry.step("plain").fn is plain
    assert registry.step("Till.open").fn is Till.open
    with pytest.raises(MissingCodeError):
        registry.step("Till")  # no function


def test_a_definition_whose_module_is_gone_is_known_all_the_same(monkeypatch):
    module: Any = types.ModuleType("a_module_that_goes")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("from durable import Context\nasync def passing(ctx: Context) -> None: ...", module.__dict__)
    passing = workflow(module.passing)
    monkeypatch.delitem(sys.modules, module.__name__)
    registry = Registry([passing])
    assert registry.workflow("passing") is passing
    assert registry.modules() == []
