"""Finds where the order of a set decides what happens."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from durable.lint.inference import Inference
from durable.lint.problem import Problem
from durable.lint.region import Region, Spot
from durable.lint.scope import Scope
from durable.lint.value import SET

_ORDERING: Final = frozenset(
    {f"builtins.{name}" for name in ("list", "tuple", "iter", "next", "enumerate", "zip", "map", "filter", "reversed")}
    | {f"itertools.{name}" for name in ("chain", "islice", "cycle", "product", "permutations", "combinations", "groupby",
                                        "accumulate", "starmap", "zip_longest", "takewhile", "dropwhile", "batched",
                                        "pairwise", "chain.from_iterable")}
    | {"builtins.dict.fromkeys", "collections.deque", "collections.OrderedDict", "collections.Counter",
       "functools.reduce", "builtins.set.pop"}
)  # fmt: skip
"""Calls whose result shows the order of what they are given."""

_INDIFFERENT: Final = frozenset(
    f"builtins.{name}" for name in ("sorted", "len", "min", "max", "sum", "any", "all", "set", "frozenset", "bool")
)
"""Calls to which the order of what they are given is nothing."""

_METHODS: Final = frozenset({"extend", "join"})
_SET_METHODS: Final = frozenset(
    {"union", "intersection", "difference", "symmetric_difference", "update", "difference_update",
     "intersection_update", "symmetric_difference_update", "issubset", "issuperset", "isdisjoint"}
)  # fmt: skip
_WHY: Final = "the order of a set decides{where}: it differs between processes"
_REMEDY: Final = "iterate over sorted(...), or use a dict or list"


def check(region: Region, inference: Inference) -> Iterator[Problem]:
    """Yield the places of a region where sets are iterated over in their own order."""
    for spot in region.spots:
        if not spot.is_unguarded:
            for node, place, scope in _iterated(spot, inference):
                if _is_set(node, scope, inference) and not _is_absorbed(place, spot, region, inference):
                    yield Problem("DURL301", node, _WHY, _REMEDY)


def _iterated(spot: Spot, inference: Inference) -> Iterator[tuple[ast.expr, ast.AST, Scope]]:
    """What a node iterates over, and whose consumer decides whether that matters."""
    node, scope, _ = spot
    match node:
        case ast.For():
            yield node.iter, node, scope
        case ast.ListComp() | ast.GeneratorExp() | ast.DictComp():
            for number, generator in enumerate(node.generators):
                yield generator.iter, node, scope.child(node) if number else scope
        case ast.YieldFrom():
            yield node.value, node, scope
        case ast.Starred(ctx=ast.Load()):
            yield node.value, node, scope
        case ast.Assign(targets=[ast.Tuple() | ast.List(), *_]):
            yield node.value, node, scope
        case ast.Call():
            yield from _consumed(node, scope, inference)
        case _:
            return


def _consumed(node: ast.Call, scope: Scope, inference: Inference) -> Iterator[tuple[ast.expr, ast.AST, Scope]]:
    names = inference.names(node.func, scope)
    if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and not node.args and not node.keywords:
        yield node.func.value, node, scope
    elif names & _ORDERING or (isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS):
        yield from ((argument, node, scope) for argument in node.args)


def _is_set(node: ast.expr, scope: Scope, inference: Inference) -> bool:
    return SET in inference.infer(node, scope)


def _is_absorbed(place: ast.AST, spot: Spot, region: Region, inference: Inference) -> bool:
    """Whether what shows the order ends, through other such, in something that does not care."""
    child = place
    for around in region.ancestors(place):
        match around:
            case ast.Call() if child is not around.func:
                names = inference.names(around.func, spot.scope)
                if names & _INDIFFERENT or (
                    isinstance(around.func, ast.Attribute) and around.func.attr in _SET_METHODS
                ):
                    return True
                if not names & _ORDERING:
                    return False
            case ast.Set() | ast.SetComp():
                return True
            case ast.Compare():
                return any(isinstance(operator, (ast.In, ast.NotIn)) for operator in around.ops)
            case ast.Starred() | ast.List() | ast.Tuple() | ast.ListComp() | ast.GeneratorExp() | ast.comprehension():
                pass
            case _:
                return False
        child = around
    return False
