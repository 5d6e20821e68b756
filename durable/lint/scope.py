"""Which names a scope binds, and to what: Python's rules of visibility over a syntax tree.

A scope is made when it is first asked for, and reads only its own statements, so that files without workflows cost
nothing but their parsing. Bindings have no order: a name means everything that its scope ever gives it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from durable.lint.module import Module

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class How(Enum):
    """How a name gets its value."""

    IMPORT = auto()
    FUNCTION = auto()
    CLASS = auto()
    VALUE = auto()
    ELEMENT = auto()
    ENTER = auto()
    PARAMETER = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Binding:
    """One way in which a name gets a value.

    Attributes:
        how: the kind.
        node: the statement, expression or parameter that binds.
        scope: where ``value`` and ``annotation`` are to be read.
        value: what it is bound to, or (``ELEMENT``) an element of, or (``ENTER``) the entered context of.
        annotation: its declared type.
        module, level, name: of an import: where from, how many dots before, and which name (empty for the module).
        function: of a parameter: whose it is.
    """

    how: How
    node: ast.AST
    scope: Scope
    value: ast.expr | None = None
    annotation: ast.expr | None = None
    module: str = ""
    level: int = 0
    name: str = ""
    function: FunctionNode | None = None


class Scope:
    """The names of a module, class, function, lambda or comprehension.

    Attributes:
        node: what makes the scope.
        module: where it is.
        parent: the scope around it; None for a module's.
    """

    def __init__(self, node: ast.AST, module: Module, parent: Scope | None) -> None:
        self.node = node
        self.module = module
        self.parent = parent
        self.global_names: set[str] = set()
        self.outer_names: set[str] = set()
        self.stars: list[Binding] = []
        self._bindings: dict[str, list[Binding]] | None = None
        self._children: dict[ast.AST, Scope] = {}

    @property
    def bindings(self) -> dict[str, list[Binding]]:
        """What each name of this scope is bound to."""
        if self._bindings is None:
            self._bindings = {}
            for name, binding in _collect(self):
                self._bindings.setdefault(name, []).append(binding)
            for name in self.global_names | self.outer_names:
                self._bindings.pop(name, None)
        return self._bindings

    def child(self, node: ast.AST) -> Scope:
        """The scope that a node within makes."""
        scope = self._children.get(node)
        if scope is None:
            scope = self._children[node] = Scope(node, self.module, self)
        return scope

    def lookup(self, name: str) -> Scope | None:
        """The scope that gives a name its meaning here; None where it is a built-in or unknown."""
        scope: Scope | None = self
        while scope is not None:
            is_hidden = scope is not self and isinstance(scope.node, ast.ClassDef)
            if not is_hidden and name in scope.bindings:
                return scope
            if name in scope.global_names:
                scope = scope.module.scope
                return scope if name in scope.bindings else None
            scope = scope.parent
        return None

    def is_outer(self, name: str) -> bool:
        """Whether a name is declared ``global`` or ``nonlocal`` here."""
        return name not in self.bindings and name in self.global_names | self.outer_names

    def is_global(self, name: str) -> bool:
        """Whether a name is declared ``global`` here."""
        return name not in self.bindings and name in self.global_names

    @property
    def is_module(self) -> bool:
        """Whether these are the globals of a module."""
        return self.parent is None

    def function(self) -> Scope | None:
        """The innermost scope of a function from here outwards."""
        scope: Scope | None = self
        while scope is not None and not isinstance(scope.node, FUNCTIONS):
            scope = scope.parent
        return scope


def _collect(scope: Scope) -> Iterator[tuple[str, Binding]]:
    node = scope.node
    if isinstance(node, COMPREHENSIONS):
        for number, generator in enumerate(node.generators):
            around = scope.parent if number == 0 and scope.parent is not None else scope
            yield from _targets(generator.target, How.ELEMENT, generator.iter, around)
        return
    if isinstance(node, FUNCTIONS):
        yield from _parameters(node, scope)
    if isinstance(node, ast.Lambda):
        yield from _walruses(node.body, scope)
        return
    assert isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    stack: list[ast.AST] = list(reversed(node.body))
    while stack:
        item = stack.pop()
        yield from _bound_by(item, scope)
        if isinstance(item, ast.stmt):
            stack.extend(_inner_statements(item))
            if scope.module.has_walrus:
                yield from _walruses(item, scope)


def _inner_statements(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, field, ()):
            yield inner
            if isinstance(inner, (ast.ExceptHandler, ast.match_case)):
                yield from inner.body


def _bound_by(node: ast.AST, scope: Scope) -> Iterator[tuple[str, Binding]]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name, Binding(How.FUNCTION, node, scope)
        case ast.ClassDef():
            yield node.name, Binding(How.CLASS, node, scope)
        case ast.Import() | ast.ImportFrom():
            yield from _imports(node, scope)
        case ast.ExceptHandler(name=str(name)):
            yield name, Binding(How.UNKNOWN, node, scope)
        case ast.Global():
            scope.global_names.update(node.names)
        case ast.Nonlocal():
            scope.outer_names.update(node.names)
        case ast.match_case():
            yield from _captures(node.pattern, scope)
        case _:
            yield from _assigned_by(node, scope)


def _assigned_by(node: ast.AST, scope: Scope) -> Iterator[tuple[str, Binding]]:
    match node:
        case ast.Assign():
            for target in node.targets:
                yield from _targets(target, How.VALUE, node.value, scope)
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name, Binding(How.VALUE, node, scope, node.value, node.annotation)
        case ast.AugAssign(target=ast.Name(id=name)):
            yield name, Binding(How.UNKNOWN, node, scope)
        case ast.For() | ast.AsyncFor():
            yield from _targets(node.target, How.ELEMENT, node.iter, scope)
        case ast.With() | ast.AsyncWith():
            for item in node.items:
                if item.optional_vars is not None:
                    yield from _targets(item.optional_vars, How.ENTER, item.context_expr, scope)
        case _:
            yield from _alias(node, scope)


def _alias(node: ast.AST, scope: Scope) -> Iterator[tuple[str, Binding]]:
    """``type Tags = set[str]``, of Python 3.12."""
    if type(node).__name__ == "TypeAlias":
        name, value = getattr(node, "name", None), getattr(node, "value", None)
        if isinstance(name, ast.Name):
            yield name.id, Binding(How.VALUE, node, scope, value)


def _imports(node: ast.Import | ast.ImportFrom, scope: Scope) -> Iterator[tuple[str, Binding]]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            top = alias.name if alias.asname else alias.name.partition(".")[0]
            yield alias.asname or top, Binding(How.IMPORT, node, scope, module=top)
        elif alias.name == "*":
            scope.stars.append(Binding(How.IMPORT, node, scope, module=node.module or "", level=node.level))
        else:
            binding = Binding(How.IMPORT, node, scope, module=node.module or "", level=node.level, name=alias.name)
            yield alias.asname or alias.name, binding


def _targets(target: ast.expr, how: How, value: ast.expr | None, scope: Scope) -> Iterator[tuple[str, Binding]]:
    """What an assignment target binds; tuples are taken apart where both sides show their parts."""
    if isinstance(target, ast.Name):
        yield target.id, Binding(how, target, scope, value)
    elif isinstance(target, ast.Starred):
        yield from _targets(target.value, How.UNKNOWN, None, scope)
    elif isinstance(target, (ast.Tuple, ast.List)):
        parts: Iterable[tuple[ast.expr, How, ast.expr | None]] = ((item, How.UNKNOWN, None) for item in target.elts)
        if isinstance(value, (ast.Tuple, ast.List)) and how is How.VALUE and len(value.elts) == len(target.elts):
            parts = ((item, how, part) for item, part in zip(target.elts, value.elts, strict=True))
        for item, part_how, part in parts:
            yield from _targets(item, part_how, part, scope)


def _parameters(node: FunctionNode, scope: Scope) -> Iterator[tuple[str, Binding]]:
    around = scope.parent or scope
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults]
    for parameter, default in [
        *zip(plain, defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]:
        yield parameter.arg, Binding(How.PARAMETER, parameter, around, default, parameter.annotation, function=node)
    for rest in (arguments.vararg, arguments.kwarg):
        if rest is not None:
            yield rest.arg, Binding(How.UNKNOWN, rest, around)


def _captures(pattern: ast.pattern, scope: Scope) -> Iterator[tuple[str, Binding]]:
    for node in ast.walk(pattern):
        match node:
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name, Binding(How.UNKNOWN, node, scope)
            case _:
                continue


def _walruses(root: ast.AST, scope: Scope) -> Iterator[tuple[str, Binding]]:
    """``(name := value)`` in the expressions of one statement; comprehensions bind in the scope around them."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.NamedExpr):
            yield node.target.id, Binding(How.VALUE, node, scope, node.value)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)) and node is not root:
            continue
        stack.extend(child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt))
