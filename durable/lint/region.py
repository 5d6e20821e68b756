"""A stretch of workflow code: one function, with the lambdas and comprehensions in it, as the checks read it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from durable.lint.inference import Inference
from durable.lint.module import Function, Module
from durable.lint.scope import Scope
from durable.lint.value import Kind
from durable.lint.walk import parts


class Spot(NamedTuple):
    """A node of a region.

    Attributes:
        node: the syntax.
        scope: where its names are to be read.
        is_unguarded: it lies in a ``with ctx.unguarded():`` block.
    """

    node: ast.AST
    scope: Scope
    is_unguarded: bool


class Route(NamedTuple):
    """How a workflow comes to some code.

    Attributes:
        workflow: name of the workflow; empty for code that takes a context without being called by a known one.
        via: names of the functions on the way, the first and the last included.
    """

    workflow: str
    via: tuple[str, ...]

    def to(self, name: str) -> Route:
        """The route one call further."""
        return Route(self.workflow, (*self.via, name))


class Region:
    """Nodes of one function, or of expressions outside functions that constructing an object evaluates.

    Attributes:
        function: whose nodes they are; None for expressions of a class body.
        module: where they are.
        route: how they are reached.
        spots: the nodes with their scopes. Of functions and classes within only what is evaluated with the region.
        parents: the node around each node.
        handed: expressions that are given to a step or workflow to run, and so are not run here.
    """

    def __init__(
        self, function: Function | None, roots: list[tuple[ast.AST, Scope]], route: Route, inference: Inference
    ) -> None:
        self.function = function
        self.module: Module = roots[0][1].module
        self.route = route
        self.spots: list[Spot] = []
        self.parents: dict[ast.AST, ast.AST] = {}
        self.handed: set[ast.AST] = set()
        stack = [Spot(node, scope, is_unguarded=False) for node, scope in reversed(roots)]
        while stack:
            spot = stack.pop()
            self.spots.append(spot)
            if isinstance(spot.node, ast.Call):
                self.handed.update(handed_over(spot.node, spot.scope, inference))
            inner = list(_inside(spot, inference))
            for child in inner:
                self.parents[child.node] = spot.node
            stack.extend(reversed(inner))

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, nearest first."""
        parent = self.parents.get(node)
        while parent is not None:
            yield parent
            parent = self.parents.get(parent)


def region_of(function: Function, route: Route, inference: Inference) -> Region:
    """The region of a function."""
    node = function.node
    body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
    return Region(function, [(item, function.scope) for item in body], route, inference)


def _inside(spot: Spot, inference: Inference) -> Iterator[Spot]:
    node, scope, is_unguarded = spot
    opens = isinstance(node, (ast.With, ast.AsyncWith)) and any(
        _is_way_out(item.context_expr, scope, inference) for item in node.items
    )
    for child, home in parts(node, scope):
        yield Spot(child, home, is_unguarded or (opens and not isinstance(child, ast.withitem)))


def _is_way_out(node: ast.expr, scope: Scope, inference: Inference) -> bool:
    return isinstance(node, ast.Call) and inference.operation(node.func, scope) == "unguarded"


def handed_over(call: ast.Call, scope: Scope, inference: Inference) -> Iterator[ast.expr]:
    """The arguments of a call that steps, workflows or compensations are made of."""
    given: list[ast.expr] = [keyword.value for keyword in call.keywords if keyword.arg == "compensate"]
    for value in inference.infer(call.func, scope):
        is_taker = value.kind is Kind.OPERATION and value.name in (
            "step",
            "child_workflow",
            "start_child",
            "compensate",
        )
        is_maker = value.kind in (Kind.EXTERNAL, Kind.DECORATOR) and value.name in ("durable.step", "durable.workflow")
        if (is_taker or is_maker) and call.args:
            given.append(call.args[0])
    while given:
        node = given.pop()
        yield node
        if isinstance(node, ast.Call) and inference.names(node.func, scope) & {"functools.partial"}:
            given.extend(node.args[:1])
