"""Which code is workflow code: workflow functions, and whatever they reach.

From each workflow the names and attributes that its code mentions are followed to functions and classes of the
program, in any of its modules, and so on: what is called, what is passed on as a callback, handlers, properties,
context managers, constructors, wrappers of decorators. What is handed to a step is not workflow code.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from typing import Final

from durable.lint.inference import Inference
from durable.lint.module import Class, Function
from durable.lint.region import Region, Route, Spot, region_of
from durable.lint.scope import FUNCTIONS, How, Scope
from durable.lint.value import Kind, Value, Values
from durable.lint.walk import everything, expressions

_CONSTRUCTORS: Final = ("__init__", "__new__", "__post_init__", "model_post_init")
_VALIDATORS: Final = frozenset(
    f"pydantic.{name}" for name in ("field_validator", "model_validator", "validator", "root_validator")
)
_PROTOCOLS: Final[dict[type[ast.AST], tuple[str, ...]]] = {
    ast.With: ("__enter__", "__exit__"),
    ast.AsyncWith: ("__aenter__", "__aexit__"),
    ast.For: ("__iter__", "__next__"),
    ast.AsyncFor: ("__aiter__", "__anext__"),
    ast.comprehension: ("__iter__", "__next__", "__aiter__", "__anext__"),
    ast.Await: ("__await__",),
    ast.Call: ("__call__",),
}
"""Methods that syntax calls, of the object that it is applied to."""


class Reach:
    """The workflow code of a program.

    Attributes:
        workflows: the workflow functions that were found under check.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._regions: dict[object, Region] = {}
        self._routes: dict[Function, Route] = {}
        self._waiting: deque[Function] = deque()
        self._built: set[Class] = set()
        self.workflows: list[Function] = []
        takers = []
        for function, name in self._roots():
            if name:
                self._add(function, Route(name, (name,)))
            else:
                takers.append(function)
        self._go_on()
        for function in takers:  # a workflow that calls them says more
            self._add(function, Route("", (function.qualname,)))
            self._go_on()

    def regions(self) -> list[Region]:
        """All of it, each function once."""
        return list(self._regions.values())

    # -- where it begins ----------------------------------------------------------------------------------

    def _roots(self) -> Iterator[tuple[Function, str]]:
        for module in self._inference.project.under_check():
            if self._inference.project.concerns_workflows(module):
                for statement, scope in module.statements():
                    yield from self._declared_by(statement, scope)

    def _declared_by(self, statement: ast.stmt, scope: Scope) -> Iterator[tuple[Function, str]]:
        inference = self._inference
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = scope.module.function(statement, scope)
            kind = inference.function(function).kind
            if kind is Kind.WORKFLOW:
                self.workflows.append(function)
                yield function, function.name
            elif kind is Kind.FUNCTION and _takes_context(function, inference):
                yield function, ""
        elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Return, ast.Expr)) and statement.value is not None:
            for node, home in expressions(statement.value, scope):
                if isinstance(node, ast.Call) and node.args and _may_declare(node.func, home):
                    yield from self._wrapped_by(node, home)

    def _wrapped_by(self, call: ast.Call, scope: Scope) -> Iterator[tuple[Function, str]]:
        """``deploy = workflow(plain)`` and ``workflow(name="deploy")(plain)``."""
        makers = self._inference.infer(call.func, scope)
        if not any(
            value.name == "durable.workflow" and value.kind in (Kind.EXTERNAL, Kind.DECORATOR) for value in makers
        ):
            return
        for value in self._inference.infer(call.args[0], scope):
            if value.kind is Kind.FUNCTION:
                function: Function = value.target
                first = function.first_parameter
                if first:
                    self._inference.bind(function, first, frozenset({Value(Kind.CONTEXT)}))
                self.workflows.append(function)
                yield function, function.name

    # -- where it leads -----------------------------------------------------------------------------------

    def _go_on(self) -> None:
        while self._waiting:
            self._look_into(self._waiting.popleft())

    def _add(self, function: Function, route: Route) -> None:
        if function in self._routes:
            return
        self._routes[function] = route
        if self._inference.function(function).kind is Kind.WORKFLOW and function.first_parameter:
            self._inference.bind(function, function.first_parameter, frozenset({Value(Kind.CONTEXT)}))
        self._waiting.append(function)

    def _look_into(self, function: Function) -> None:
        route = self._routes[function]
        region = self._regions[function] = region_of(function, route, self._inference)
        for wrapper in self._wrappers(function):
            self._add(wrapper, route.to(wrapper.qualname))
        self._follow(region)

    def _follow(self, region: Region) -> None:
        guarded = [spot for spot in region.spots if not spot.is_unguarded]
        for spot in guarded:  # first, because it tells what is handed over
            if isinstance(spot.node, ast.Call):
                self._pass(spot.node, spot, region)
        for spot in guarded:
            node = spot.node
            if node in region.handed:
                continue
            if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
                self._mention(node, spot, region)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._define(node, spot, region)
            self._apply(spot, region)

    def _mention(self, node: ast.Name | ast.Attribute, spot: Spot, region: Region) -> None:
        if isinstance(region.parents.get(node), ast.Attribute) and self._is_function(node, spot.scope):
            return  # helper.__name__
        for value in self._inference.infer(node, spot.scope):
            if value.kind is Kind.FUNCTION and not _is_within(value.target):
                self._step_to(value.target, region.route)
            elif value.kind is Kind.CLASS:
                self._construct(value.target, region.route)
        if isinstance(node, ast.Attribute):
            for base in self._inference.infer(node.value, spot.scope):
                if base.kind is Kind.OBJECT:
                    for function in self._inference.members.methods(base.target, node.attr):
                        if self._inference.is_property(function):
                            self._step_to(function, region.route)

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef, spot: Spot, region: Region) -> None:
        """A function within: it is workflow code unless it is a step, or only ever handed to one."""
        function = spot.scope.module.function(node, spot.scope)
        if self._inference.function(function).kind is not Kind.FUNCTION:
            return
        mentions = [
            other.node
            for other in region.spots
            if isinstance(other.node, ast.Name) and other.node.id == node.name and isinstance(other.node.ctx, ast.Load)
        ]
        if not mentions or node.decorator_list or any(mention not in region.handed for mention in mentions):
            self._step_to(function, region.route)

    def _step_to(self, function: Function, route: Route) -> None:
        self._add(function, route.to(function.qualname))

    def _apply(self, spot: Spot, region: Region) -> None:
        """Methods that are called by syntax."""
        names = _PROTOCOLS.get(type(spot.node), ())
        for node in _applied_to(spot.node):
            for value in self._inference.infer(node, spot.scope):
                if value.kind is Kind.OBJECT:
                    for name in names:
                        for function in self._inference.members.methods(value.target, name):
                            self._step_to(function, region.route)

    def _construct(self, owner: Class, route: Route) -> None:
        """What making an object runs: constructors, validators, factories of defaults."""
        if owner in self._built:
            return
        self._built.add(owner)
        for name in _CONSTRUCTORS:
            for function in self._inference.members.methods(owner, name):
                self._step_to(function, route)
        for ancestor in self._inference.members.ancestry(owner):
            if not isinstance(ancestor, Class):
                continue
            for method in ancestor.methods():
                if self._inference.decorations(method) & _VALIDATORS:
                    self._step_to(method, route)
            factories = _factories(ancestor)
            if factories:
                region = Region(None, factories, route.to(ancestor.name), self._inference)
                self._regions[ancestor] = region
                self._follow(region)

    def _wrappers(self, function: Function) -> Iterator[Function]:
        """The functions that decorators of the program put around a function."""
        for decorator in function.decorators:
            is_factory = isinstance(decorator, ast.Call)
            plain = decorator.func if isinstance(decorator, ast.Call) else decorator
            for value in self._inference.infer(plain, function.around):
                if value.kind is Kind.FUNCTION:
                    for inner in _defined_in(value.target):
                        yield from _defined_in(inner) if is_factory else (inner,)

    def _is_function(self, node: ast.expr, scope: Scope) -> bool:
        return all(value.kind is Kind.FUNCTION for value in self._inference.infer(node, scope))

    def _pass(self, call: ast.Call, spot: Spot, region: Region) -> None:
        """Note what is passed to functions of the program; what was read before they knew is read again."""
        for value in self._inference.infer(call.func, spot.scope):
            if value.kind is Kind.CLASS:
                functions = [(f, True) for f in self._inference.members.methods(value.target, "__init__")]
            elif value.kind is Kind.FUNCTION:
                functions = [(value.target, value.name == "bound")]
            else:
                continue
            for function, is_bound in functions:
                pairs = _pairs(function, call, is_bound=is_bound)
                self._pass_to(function, pairs, spot.scope)
                region.handed.update(
                    argument
                    for name, argument in pairs
                    if self._may_run(argument, spot.scope) and self._hands_on(function, name)
                )

    def _pass_to(self, function: Function, pairs: list[tuple[str, ast.expr]], scope: Scope) -> None:
        for name, argument in pairs:
            values = _worth_passing(self._inference.infer(argument, scope))
            if values and self._inference.bind(function, name, values) and function in self._regions:
                self._waiting.append(function)

    def _may_run(self, node: ast.expr, scope: Scope) -> bool:
        return any(value.kind in (Kind.FUNCTION, Kind.EXTERNAL) for value in self._inference.infer(node, scope))

    def _hands_on(self, function: Function, name: str) -> bool:
        """Whether all that a function does with a parameter is to hand it to steps."""
        if isinstance(function.node, ast.Lambda):
            return False
        uses = [node for node, _ in everything(function.scope) if isinstance(node, ast.Name) and node.id == name]
        if not uses:
            return False
        region = region_of(function, Route("", ()), self._inference)
        return all(use in region.handed for use in uses)


def _pairs(function: Function, call: ast.Call, *, is_bound: bool) -> list[tuple[str, ast.expr]]:
    """The arguments of a call by the names of the parameters that take them."""
    pairs: list[tuple[str, ast.expr]] = []
    for name, argument in zip(function.parameters[is_bound:], call.args, strict=False):
        if isinstance(argument, ast.Starred):
            break
        pairs.append((name, argument))
    pairs.extend((keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg is not None)
    return pairs


def _is_within(function: Function) -> bool:
    """Whether a function is a lambda that is read with the function around it."""
    return isinstance(function.node, ast.Lambda) and function.around.function() is not None


def _worth_passing(values: Values) -> Values:
    return frozenset(value for value in values if value.kind is not Kind.EXTERNAL)


def _may_declare(node: ast.expr, scope: Scope) -> bool:
    """Whether what is called may be ``workflow``: an import, an attribute of one, or what such a call gave."""
    if isinstance(node, ast.Call):
        node = node.func
    is_attribute = isinstance(node, ast.Attribute)
    if isinstance(node, ast.Attribute):
        node = node.value
    home = scope.lookup(node.id) if isinstance(node, ast.Name) else None
    if home is None:
        return isinstance(node, ast.Name) and not is_attribute and bool(scope.module.scope.stars)
    assert isinstance(node, ast.Name)
    kinds = {binding.how for binding in home.bindings[node.id]}
    return How.IMPORT in kinds or (How.VALUE in kinds and not is_attribute)


def _takes_context(function: Function, inference: Inference) -> bool:
    arguments = function.node.args
    for parameter in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if parameter.annotation is not None and not _is_builtin(parameter.annotation, function.around):
            values = inference.annotations.values((parameter.annotation, function.around))
            if any(value.kind is Kind.CONTEXT for value in values):
                return True
    return False


def _is_builtin(annotation: ast.expr, scope: Scope) -> bool:
    stars = scope.module.scope.stars
    return isinstance(annotation, ast.Name) and not stars and scope.lookup(annotation.id) is None


def _applied_to(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.With() | ast.AsyncWith():
            yield from (item.context_expr for item in node.items)
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            yield node.iter
        case ast.Await():
            yield node.value
        case ast.Call():
            yield node.func
        case _:
            return


def _defined_in(function: Function) -> Iterator[Function]:
    for bindings in function.scope.bindings.values():
        for binding in bindings:
            if binding.how is How.FUNCTION and isinstance(binding.node, FUNCTIONS):
                yield function.module.function(binding.node, function.scope)


def _factories(owner: Class) -> list[tuple[ast.AST, Scope]]:
    """``default_factory=`` of the fields in a class body."""
    return [
        (keyword, owner.scope)
        for statement in owner.node.body
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(statement.value, ast.Call)
        for keyword in statement.value.keywords
        if keyword.arg in ("default_factory", "factory")
    ]
