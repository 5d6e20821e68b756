"""Modules of the program under check, and the functions and classes in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

from durable.lint.scope import FUNCTIONS, FunctionNode, Scope
from durable.lint.source import Source

if TYPE_CHECKING:
    from durable.lint.value import Value


class Module:
    """A parsed file as a module.

    Attributes:
        source: its text and tree.
        scope: its globals.
        has_walrus: its text may have assignments within expressions.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.has_walrus = ":=" in source.text
        self.scope = Scope(source.tree, self, None)
        self._functions: dict[ast.AST, Function] = {}
        self._classes: dict[ast.AST, Class] = {}

    @property
    def path(self) -> PurePath:
        """The file."""
        return self.source.path

    def function(self, node: FunctionNode, scope: Scope) -> Function:
        """The function that a node of this module defines, in the scope where it is defined."""
        found = self._functions.get(node)
        if found is None:
            found = self._functions[node] = Function(node, scope)
        return found

    def class_(self, node: ast.ClassDef, scope: Scope) -> Class:
        """The class that a node of this module defines."""
        found = self._classes.get(node)
        if found is None:
            found = self._classes[node] = Class(node, scope)
        return found

    def statements(self) -> Iterator[tuple[ast.stmt, Scope]]:
        """Every statement of the module, nested ones too, with the scope that it is in."""
        stack: list[tuple[ast.AST, Scope]] = [(node, self.scope) for node in reversed(self.source.tree.body)]
        while stack:
            node, scope = stack.pop()
            if isinstance(node, ast.stmt):
                yield node, scope
            has_scope = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            inner = scope.child(node) if has_scope else scope
            for field in ("cases", "finalbody", "orelse", "handlers", "body"):
                part = getattr(node, field, None)
                if isinstance(part, list):
                    stack.extend((item, inner) for item in reversed(part))


class Function:
    """A function, method or lambda.

    Attributes:
        node: its definition.
        around: the scope that it is defined in.
        scope: its own.
        arguments: what is known to be passed, by name of the parameter.
    """

    def __init__(self, node: FunctionNode, around: Scope) -> None:
        self.node = node
        self.around = around
        self.scope = around.child(node)
        self.arguments: dict[str, set[Value]] = {}

    @property
    def module(self) -> Module:
        """Where it is."""
        return self.around.module

    @property
    def name(self) -> str:
        """Its own name."""
        return "<lambda>" if isinstance(self.node, ast.Lambda) else self.node.name

    @property
    def qualname(self) -> str:
        """Its name with the classes and functions around it."""
        parts = [self.name]
        scope: Scope | None = self.around
        while scope is not None:
            if isinstance(scope.node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                parts.append(scope.node.name)
            scope = scope.parent
        return ".".join(reversed(parts))

    @property
    def owner(self) -> Class | None:
        """The class whose body it is in."""
        node = self.around.node
        if isinstance(node, ast.ClassDef) and self.around.parent is not None:
            return self.module.class_(node, self.around.parent)
        return None

    @property
    def decorators(self) -> list[ast.expr]:
        """What it is decorated with."""
        return [] if isinstance(self.node, ast.Lambda) else self.node.decorator_list

    @property
    def is_async(self) -> bool:
        """Whether calling it makes a coroutine."""
        return isinstance(self.node, ast.AsyncFunctionDef) and not self._is_generator()

    @property
    def returns(self) -> ast.expr | None:
        """The annotation of its result."""
        return None if isinstance(self.node, ast.Lambda) else self.node.returns

    @property
    def parameters(self) -> list[str]:
        """Names of its positional parameters."""
        arguments = self.node.args
        return [parameter.arg for parameter in (*arguments.posonlyargs, *arguments.args)]

    @property
    def first_parameter(self) -> str:
        """``self``, by whatever name; empty where it takes nothing."""
        return next(iter(self.parameters), "")

    def returned(self) -> Iterator[tuple[ast.expr, Scope]]:
        """The expressions that it returns."""
        if isinstance(self.node, ast.Lambda):
            yield self.node.body, self.scope
            return
        for node in own_nodes(self.node):
            if isinstance(node, ast.Return) and node.value is not None:
                yield node.value, self.scope

    def _is_generator(self) -> bool:
        return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in own_nodes(self.node))


class Class:
    """A class.

    Attributes:
        node: its definition.
        around: the scope that it is defined in.
        scope: its own.
    """

    def __init__(self, node: ast.ClassDef, around: Scope) -> None:
        self.node = node
        self.around = around
        self.scope = around.child(node)
        self._attributes: dict[str, list[tuple[ast.expr, Scope]]] | None = None

    @property
    def module(self) -> Module:
        """Where it is."""
        return self.around.module

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name

    def methods(self) -> Iterator[Function]:
        """The functions in its body."""
        for node in self.node.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield self.module.function(node, self.scope)

    def assigned(self, name: str) -> list[tuple[ast.expr, Scope]]:
        """What its methods assign to ``self.name``."""
        if self._attributes is None:
            self._attributes = {}
            for method in self.methods():
                for attribute, value in _self_assignments(method):
                    self._attributes.setdefault(attribute, []).append((value, method.scope))
        return self._attributes.get(name, [])


def _self_assignments(method: Function) -> Iterator[tuple[str, ast.expr]]:
    for node in own_nodes(method.node):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            if (
                isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id == method.first_parameter
            ):
                yield target.attr, value


def own_nodes(function: FunctionNode) -> Iterator[ast.AST]:
    """Every node of a function's body, without those of functions and classes in it."""
    stack: list[ast.AST] = [function.body] if isinstance(function, ast.Lambda) else list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))
