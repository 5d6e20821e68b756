"""What an annotation says about a value: its possible kinds, and those of its elements."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Final

from durable.lint.scope import How, Scope
from durable.lint.value import CONTEXT, SET, Kind, Value, Values, instance

Typed = tuple[ast.expr, Scope]
"""An annotation, and where its names are to be read."""

SETS: Final = frozenset(
    {
        "builtins.set", "builtins.frozenset", "typing.Set", "typing.FrozenSet", "typing.AbstractSet", "typing.MutableSet",
        "collections.abc.Set", "collections.abc.MutableSet",
    }
)  # fmt: skip

_TRANSPARENT: Final = frozenset(
    {
        "typing.Optional", "typing.Union", "typing.Annotated", "typing.Final", "typing.ClassVar", "typing.Awaitable",
        "collections.abc.Awaitable", "dataclasses.InitVar",
    }
)  # fmt: skip
_COROUTINES: Final = frozenset({"typing.Coroutine", "collections.abc.Coroutine"})
_MAPPINGS: Final = frozenset(
    {
        "builtins.dict", "typing.Dict", "typing.Mapping", "typing.MutableMapping", "collections.abc.Mapping",
        "collections.abc.MutableMapping", "collections.defaultdict", "collections.OrderedDict",
    }
)  # fmt: skip
_SAFE_ELEMENTS: Final = frozenset(
    {
        "asyncio.Task", "asyncio.Future", "durable.StepCall", "durable.context.StepCall", "durable.Operation",
        "durable.kernel.operation.Operation", "durable.kernel.child.ChildHandle",
    }
)  # fmt: skip
"""They hash by their number of creation, so that sets of them have one order."""

_DEEPEST: Final = 12


class Annotations:
    """Reads annotations.

    Args:
        infer: tells what an expression is.
    """

    def __init__(self, infer: Callable[[ast.expr, Scope], Values]) -> None:
        self._infer = infer

    def values(self, typed: Typed) -> Values:
        """What a value of this type may be."""
        found: set[Value] = set()
        for annotation, scope in self.alternatives(typed):
            found |= self._one(annotation, scope)
        return frozenset(found)

    def elements(self, typed: Typed, *, of_key: bool) -> Iterator[Typed]:
        """The types of what iterating over (``of_key``) or subscribing a value of this type gives."""
        for annotation, scope in self.alternatives(typed):
            if not isinstance(annotation, ast.Subscript):
                continue
            arguments = _arguments(annotation)
            names = self._names(annotation.value, scope)
            place = 1 if names & _MAPPINGS and not of_key else 0
            yield from ((argument, scope) for argument in arguments[place : place + 1])

    def alternatives(self, typed: Typed, depth: int = 0) -> Iterator[Typed]:
        """The members of a union, without wrappers like ``Annotated`` and behind aliases."""
        annotation, scope = typed
        if depth > _DEEPEST:
            return
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            inner = _parsed(annotation)
            parts = [] if inner is None else [inner]
        elif isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
            parts = [annotation.left, annotation.right]
        elif isinstance(annotation, ast.Subscript):
            names = self._names(annotation.value, scope)
            parts = _arguments(annotation) if names & _TRANSPARENT else []
            if names & _COROUTINES:
                parts = _arguments(annotation)[-1:]
            if not parts:
                yield annotation, scope
        else:
            yield from self._behind_alias(annotation, scope, depth)
            return
        for part in parts:
            yield from self.alternatives((part, scope), depth + 1)

    def _behind_alias(self, annotation: ast.expr, scope: Scope, depth: int) -> Iterator[Typed]:
        aliased = False
        if isinstance(annotation, ast.Name):
            home = scope.lookup(annotation.id)
            for binding in home.bindings[annotation.id] if home is not None else ():
                if binding.how is How.VALUE and isinstance(binding.value, (ast.Subscript, ast.BinOp, ast.Name)):
                    aliased = True
                    yield from self.alternatives((binding.value, binding.scope), depth + 1)
        if not aliased:
            yield annotation, scope

    def _one(self, annotation: ast.expr, scope: Scope) -> Values:
        arguments: list[ast.expr] = []
        if isinstance(annotation, ast.Subscript):
            arguments = _arguments(annotation)
            annotation = annotation.value
        found: set[Value] = set()
        for value in self._infer(annotation, scope):
            if value.kind is Kind.CLASS:
                found.add(Value(Kind.OBJECT, target=value.target))
            elif value.kind is Kind.EXTERNAL and value.name == "durable.Context":
                found.add(CONTEXT)
            elif value.kind is Kind.EXTERNAL and value.name in SETS:
                if not any(self._names(argument, scope) & _SAFE_ELEMENTS for argument in arguments):
                    found.add(SET)
            elif value.kind is Kind.EXTERNAL:
                found.add(instance(value.name))
        return frozenset(found)

    def _names(self, annotation: ast.expr, scope: Scope) -> set[str]:
        if isinstance(annotation, ast.Subscript):
            annotation = annotation.value
        return {value.name for value in self._infer(annotation, scope) if value.kind is Kind.EXTERNAL}


def _arguments(annotation: ast.Subscript) -> list[ast.expr]:
    inner = annotation.slice
    return list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]


def _parsed(annotation: ast.Constant) -> ast.expr | None:
    try:
        return ast.parse(str(annotation.value), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
