"""Which code the guard takes for workflow code."""

import functools
import sys
import types

import pytest

from durable.kernel.watchlist import Watchlist, plain_function

SHOP = """
import functools
from elsewhere import imported

def first(): return second()
def second(): return [third for _ in range(1)]
def third(): return first
def unused(): pass
def wrapped(): pass

@functools.lru_cache
def cached(): pass

def decorated(): pass
wrapper = lambda: decorated()
wrapper.__wrapped__ = decorated

class Base:
    def inherited(self): pass

class Order(Base):
    def method(self): pass
    @classmethod
    def made(cls): pass
    @staticmethod
    def fixed(): pass
    @property
    def total(self): pass
    @functools.cached_property
    def slow(self): pass

async def deploy(ctx):
    def handler():
        return lambda: first()
    return handler, cached, wrapper, functools.partial(wrapped), Order, partial, bound, imported

partial = functools.partial(unused)
bound = Order().method

async def waits(ctx):
    return later()
"""


@pytest.fixture
def shop(monkeypatch):
    """A module of workflows."""
    elsewhere = types.ModuleType("elsewhere")
    exec("def imported(): pass", vars(elsewhere))
    module = types.ModuleType("shop")
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    monkeypatch.setitem(sys.modules, "shop", module)
    exec(compile(SHOP, "/srv/shop.py", "exec"), vars(module))
    return module


def names(codes):
    return {code.co_qualname for code in codes}


def test_watchlist_follows_the_names_that_the_code_uses_through_its_module(shop):
    watchlist = Watchlist()
    watchlist.add(shop.deploy, "deploy")
    found = names(watchlist.collect())
    assert {"deploy", "deploy.<locals>.handler", "deploy.<locals>.handler.<locals>.<lambda>"} <= found
    assert {"first", "second", "third", "cached", "wrapped", "decorated", "unused"} <= found
    assert {"Order.method", "Order.made", "Order.fixed", "Order.total", "Order.slow", "Base.inherited"} <= found


def test_watchlist_leaves_other_modules_and_workflows_alone(shop):
    watchlist = Watchlist()
    watchlist.add(shop.deploy, "deploy")
    assert not {"imported", "waits"} & names(watchlist.collect())


def test_watchlist_sees_what_a_local_workflow_closes_over():
    def helper():
        pass

    async def deploy(ctx):
        helper()
        return undefined  # noqa: F821 - a cell without a value

    watchlist = Watchlist()
    watchlist.add(deploy, "deploy")
    assert helper.__code__ in watchlist.collect()
    undefined = None
    del undefined


def test_watchlist_leaves_out_steps_that_were_declared_before(shop):
    watchlist = Watchlist()
    watchlist.exempt(shop.second)
    watchlist.add(shop.deploy, "deploy")
    found = names(watchlist.collect())
    assert "first" in found
    assert not {"second", "third"} & found


def test_watchlist_returns_what_to_forget_of_a_step_that_is_declared_later(shop):
    watchlist = Watchlist()
    watchlist.add(shop.deploy, "deploy")
    watchlist.collect()
    assert names(watchlist.exempt(shop.second)) >= {"second"}
    assert watchlist.exempt(shop.second) == []
    assert id(shop.second.__code__) not in watchlist.codes


def test_watchlist_keeps_a_workflow_that_is_also_used_as_a_step(shop):
    watchlist = Watchlist()
    watchlist.add(shop.deploy, "deploy")
    watchlist.collect()
    assert watchlist.exempt(shop.deploy) == []
    assert id(shop.deploy.__code__) in watchlist.codes


def test_watchlist_looks_again_into_a_module_under_import(shop):
    shop.__spec__ = types.SimpleNamespace(_initializing=True)
    watchlist = Watchlist()
    watchlist.add(shop.waits, "waits")
    assert names(watchlist.collect()) == {"waits"}
    assert not watchlist.is_complete()
    exec("def later(): pass", vars(shop))
    shop.__spec__._initializing = False
    assert names(watchlist.collect()) == {"waits", "later"}
    assert watchlist.is_complete()


def test_watchlist_notes_the_file_and_the_namespace(shop):
    watchlist = Watchlist()
    watchlist.add(shop.deploy, "deploy")
    watchlist.collect()
    assert watchlist.files == {"/srv/shop.py"}
    assert list(watchlist.namespaces.values()) == [vars(shop)]


def test_watchlist_ignores_what_has_no_python_code():
    watchlist = Watchlist()
    watchlist.add(len, "len")
    assert watchlist.exempt(print) == []
    assert watchlist.collect() == []


class Callable:
    def __call__(self):
        pass


def function():
    pass


@functools.wraps(function)
def wrapper():
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (function, function),
        (wrapper, function),
        (functools.partial(functools.partial(wrapper), 1), function),
        (functools.lru_cache(function), function),
        (function.__get__(1), function),
        (Callable(), Callable.__call__),
        (len, None),
        (dict, None),
    ],
)
def test_plain_function_is_found_behind(value, expected):
    assert plain_function(value) is expected


def test_plain_function_gives_up_on_one_that_wraps_itself():
    def loop():
        pass

    loop.__wrapped__ = loop
    assert plain_function(loop) is None
