"""Global variables of the program: which one an expression means, and where each is changed.

A change counts where a function makes it. What module bodies do while they are imported, and functions that are
only ever called there (decorators that fill a registry), leaves a constant behind.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from durable.lint.inference import Inference
from durable.lint.module import Module
from durable.lint.scope import Binding, How, Scope
from durable.lint.value import Kind
from durable.lint.walk import expressions

_CHANGING: Final = frozenset(
    {"append", "extend", "insert", "remove", "pop", "popitem", "clear", "sort", "reverse", "add", "discard", "update",
     "setdefault", "appendleft", "extendleft", "popleft", "rotate", "subtract", "move_to_end", "put_nowait", "__setitem__",
     "difference_update", "intersection_update", "symmetric_difference_update"}
)  # fmt: skip
"""Methods that change their object."""

_CHANGING_FIRST: Final = frozenset(
    {"builtins.next", "builtins.setattr", "builtins.delattr", "heapq.heappush", "heapq.heappop", "heapq.heapify",
     "bisect.insort"}
)  # fmt: skip
"""Functions that change their first argument."""

_AFTER: Final = re.compile(r"\s*[.\[]|\s+as\b")
_AFTER_DOT: Final = re.compile(r"\s*[^\w\s=]{0,2}=")
_BEFORE: Final = re.compile(r"\bglobal\b|(next|attr|push|pop|ify|sort)\w*\(\s*[\w.]*$")
_DRAWING: Final = frozenset(name for name in dir(random.Random) if not name.startswith("_")) | {"normal", "integers"}
_GENERATORS: Final = frozenset({"random.Random", "numpy.random.Generator", "numpy.random.RandomState"})


class Variable(NamedTuple):
    """A global variable.

    Attributes:
        module: where it is.
        name: its name there.
    """

    module: Module
    name: str


def variable_of(node: ast.expr, scope: Scope, inference: Inference) -> Variable | None:
    """The global variable that a name or ``module.name`` means."""
    for binding, name in global_bindings(node, scope, inference):
        if binding.how in (How.VALUE, How.UNKNOWN, How.ELEMENT, How.ENTER):
            return Variable(binding.scope.module, name)
    return None


def global_bindings(node: ast.expr, scope: Scope, inference: Inference) -> Iterator[tuple[Binding, str]]:
    """The bindings of the global of the program that a name or ``module.name`` means, with its name there."""
    if isinstance(node, ast.Name):
        home = scope.lookup(node.id)
        if home is not None and home.is_module:
            for binding in home.bindings[node.id]:
                yield from _origin(binding, node.id, inference)
    elif isinstance(node, ast.Attribute):
        for value in inference.infer(node.value, scope):
            if value.kind is Kind.MODULE:
                for binding in value.target.scope.bindings.get(node.attr, ()):
                    yield from _origin(binding, node.attr, inference)


def _origin(binding: Binding, name: str, inference: Inference, depth: int = 0) -> Iterator[tuple[Binding, str]]:
    """Behind ``from module import name``, as often as it was passed on."""
    module = binding.scope.module
    source = None
    if binding.how is How.IMPORT and binding.name and depth < 8:
        source = inference.project.find(module, binding.module, binding.level)
    if source is None:
        yield binding, name
        return
    for item in source.scope.bindings.get(binding.name, ()):
        yield from _origin(item, binding.name, inference, depth + 1)


def changed_by(node: ast.AST, scope: Scope, inference: Inference) -> Iterator[ast.expr]:
    """What a statement or call changes: the expressions of the objects, or of global names that it binds anew."""
    match node:
        case ast.Assign() | ast.Delete():
            targets = list(node.targets)
        case ast.AugAssign() | ast.AnnAssign():
            targets = [node.target]
        case ast.Call(func=ast.Attribute(attr=name, value=owner)) if name in _CHANGING:
            yield owner
            return
        case ast.Call(args=[first, *_]) if inference.names(node.func, scope) & _CHANGING_FIRST:
            yield first
            return
        case ast.Call(func=ast.Attribute(attr=name, value=owner)) if name in _DRAWING:
            if any(v.kind is Kind.INSTANCE and v.name in _GENERATORS for v in inference.infer(owner, scope)):
                yield owner
            return
        case _:
            return
    while targets:
        target = targets.pop()
        if isinstance(target, (ast.Tuple, ast.List)):
            targets.extend(target.elts)
        elif isinstance(target, ast.Attribute):
            yield target if _is_of_module(target, scope, inference) else target.value
        elif isinstance(target, ast.Subscript):
            yield target.value
        elif isinstance(target, ast.Name) and _is_declared_global(target.id, scope):
            yield target


def _is_of_module(node: ast.Attribute, scope: Scope, inference: Inference) -> bool:
    return any(value.kind is Kind.MODULE for value in inference.infer(node.value, scope))


def _is_declared_global(name: str, scope: Scope) -> bool:
    function = scope.function()
    return function is not None and function.is_global(name)


def root_variable(node: ast.expr, scope: Scope, inference: Inference) -> tuple[Variable, ast.expr] | None:
    """The global variable that an object is, or is in: ``STATE["a"].items`` is in ``STATE``."""
    while True:
        found = variable_of(node, scope, inference)
        if found is not None:
            return found, node
        if not isinstance(node, (ast.Attribute, ast.Subscript)):
            return None
        node = node.value


class Changes:
    """Which global variables functions change, in any module of the program that was read."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._changed: dict[Module, dict[Variable, list[Scope]]] = {}
        self._used: dict[Module, dict[str, bool]] = {}
        self._known: dict[Variable, bool] = {}

    def __contains__(self, variable: object) -> bool:
        assert isinstance(variable, Variable)
        known = self._known.get(variable)
        if known is None:
            known = self._known[variable] = any(
                not self._runs_at_import(function)
                for module in self._mentioning(variable.name)
                if _looks_changed(variable.name, module.source.text)
                for function in self._in(module).get(variable, ())
            )
        return known

    def _mentioning(self, name: str) -> Iterator[Module]:
        return (module for module in self._inference.project.modules() if name in module.source.text)

    def _in(self, module: Module) -> dict[Variable, list[Scope]]:
        """The variables that functions of a module change, with these functions."""
        known = self._changed.get(module)
        if known is None:
            known = self._changed[module] = {}
            for statement, scope in module.statements():
                function = scope.function()
                if function is not None:
                    for variable in self._changed_in(statement, scope):
                        known.setdefault(variable, []).append(function)
        return known

    def _changed_in(self, statement: ast.stmt, scope: Scope) -> Iterator[Variable]:
        for node, home in expressions(statement, scope):
            for changed in changed_by(node, home, self._inference):
                found = root_variable(changed, home, self._inference)
                if found is not None:
                    yield found[0]

    def _runs_at_import(self, function: Scope) -> bool:
        """Whether a function, or the one around it, is only used by module bodies, as a decorator or otherwise."""
        around = function.parent.function() if function.parent is not None else None
        top = around or function
        if not isinstance(top.node, (ast.FunctionDef, ast.AsyncFunctionDef)) or top.parent is not top.module.scope:
            return False
        name = top.node.name
        uses = [self._uses(module)[name] for module in self._mentioning(name) if name in self._uses(module)]
        return bool(uses) and not any(uses)

    def _uses(self, module: Module) -> dict[str, bool]:
        """The names that a module mentions, each with whether a function or main program does."""
        known = self._used.get(module)
        if known is None:
            known = self._used[module] = {}
            program = _main_program(module)
            for statement, scope in module.statements():
                is_inside = scope.function() is not None or statement in program
                for node, _ in expressions(statement, scope):
                    if isinstance(node, (ast.Name, ast.Attribute)):
                        name = node.id if isinstance(node, ast.Name) else node.attr
                        known[name] = known.get(name, False) or is_inside
        return known


def _looks_changed(name: str, text: str) -> bool:
    """Whether a text may change a variable of this name: seldom, and seen faster than by reading its tree."""
    start = text.find(name)
    while start >= 0:
        end = start + len(name)
        if _AFTER.match(text, end) or (text[start - 1 : start] == "." and _AFTER_DOT.match(text, end)):
            return True
        if _BEFORE.search(text, text.rfind("\n", 0, start) + 1, start):
            return True
        start = text.find(name, end)
    return False


def _main_program(module: Module) -> set[ast.AST]:
    """What is under ``if __name__ == "__main__"``: it is no import."""
    return {
        node
        for statement in module.source.tree.body
        if isinstance(statement, ast.If)
        and any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test))
        for node in ast.walk(statement)
    }
