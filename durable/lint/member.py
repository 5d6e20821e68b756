"""What attributes are: of modules, classes and objects of the program, of contexts, and of what lies outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from durable.lint.module import Class, Function
from durable.lint.scope import How, Scope
from durable.lint.value import NOTHING, Kind, Value, Values, external

if TYPE_CHECKING:
    from durable.lint.inference import Inference

RETURNS_SELF: Final = frozenset(
    f"pathlib.Path.{name}"
    for name in (
        "parent", "joinpath", "with_name", "with_suffix", "with_stem", "absolute", "resolve", "expanduser",
        "relative_to", "rename", "replace",
    )
)  # fmt: skip
"""Attributes, and results of methods, that are of the class of their object."""


class Members:
    """Tells what attributes are."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def attribute(self, base: Value, name: str, scope: Scope) -> Values:
        """What an attribute of a value is, as it is read in a scope."""
        match base.kind:
            case Kind.EXTERNAL:
                dotted = f"{base.name}.{name}"
                inner = self._inference.project.find(scope.module, dotted)
                return frozenset({external(dotted) if inner is None else Value(Kind.MODULE, target=inner)})
            case Kind.INSTANCE:
                return frozenset(
                    {base if f"{base.name}.{name}" == "pathlib.Path.parent" else external(f"{base.name}.{name}")}
                )
            case Kind.MODULE:
                return self._inference.member(base.target, name)
            case Kind.CLASS | Kind.OBJECT:
                return self._of_class(base, name)
            case Kind.CONTEXT:
                return frozenset({Value(Kind.OPERATION, name)})
            case Kind.SET:
                return frozenset({external(f"builtins.set.{name}")})
            case Kind.STEP | Kind.WORKFLOW if name == "options":
                return frozenset({Value(Kind.DECORATOR, "options", base)})
            case _:
                return NOTHING

    def _of_class(self, base: Value, name: str) -> Values:
        inference = self._inference
        found: set[Value] = set()
        for function in self.methods(base.target, name):
            if base.kind is Kind.OBJECT and inference.is_property(function):
                found |= inference.results.returned(function)
            else:
                found.add(self._method(base, function))
        for owner in self.ancestry(base.target):
            if isinstance(owner, str):
                found |= set() if found else {external(f"{owner}.{name}")}
                continue
            for binding in owner.scope.bindings.get(name, ()):
                if binding.how is not How.FUNCTION:
                    found |= inference.binding(binding, name)
            for node, scope in owner.assigned(name):
                found |= inference.infer(node, scope)
        return frozenset(found)

    def _method(self, base: Value, function: Function) -> Value:
        value = self._inference.function(function)
        names = self._inference.decorations(function)
        is_bound = base.kind is Kind.OBJECT or "builtins.classmethod" in names
        if value.kind is not Kind.FUNCTION or not is_bound or "builtins.staticmethod" in names:
            return value
        return Value(Kind.FUNCTION, "bound", function)

    def methods(self, owner: Class, name: str) -> Iterator[Function]:
        """The functions of a class that an attribute means; the nearest of it and its bases that has some decides."""
        for ancestor in self.ancestry(owner):
            if isinstance(ancestor, str):
                continue
            nodes = [item.node for item in ancestor.scope.bindings.get(name, ()) if item.how is How.FUNCTION]
            for node in nodes:
                assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                yield ancestor.module.function(node, ancestor.scope)
            if nodes:
                return

    def ancestry(self, owner: Class) -> Iterator[Class | str]:
        """A class and its bases, nearest first; those outside the program by name."""
        waiting: list[Class | str] = [owner]
        seen: set[Class | str] = set()
        while waiting:
            item = waiting.pop(0)
            if item in seen:
                continue
            seen.add(item)
            yield item
            if isinstance(item, Class):
                waiting.extend(self._bases(item))

    def _bases(self, owner: Class) -> Iterator[Class | str]:
        for base in owner.node.bases:
            plain = base.value if isinstance(base, ast.Subscript) else base
            for value in self._inference.infer(plain, owner.around):
                if value.kind is Kind.CLASS:
                    yield value.target
                elif value.kind is Kind.EXTERNAL and value.name != "builtins.object":
                    yield value.name
