"""What an expression may be: names, attributes and calls followed through scopes, imports and annotations.

An inference by union: a name is everything that its scope ever binds it to, a call everything that the function
may return. Where nothing is known the answer is empty, and no check speaks. Nothing is executed or imported.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from typing import Final

from durable.kernel.rules import find_rule
from durable.lint.annotation import Annotations
from durable.lint.member import Members
from durable.lint.module import Function, Module
from durable.lint.project import Project
from durable.lint.result import Results
from durable.lint.scope import Binding, How, Scope
from durable.lint.taskset import holds_tasks, is_task_set
from durable.lint.value import NOTHING, SET, Kind, Value, Values, external

_BUILTINS: Final = frozenset(dir(builtins))
_DEEPEST: Final = 40
_NONE: Final = 1_000_000
_ENTANGLED: Final = 200
"""So many expressions that mean each other are taken as they were first understood, lest each question begin anew."""


class Inference:
    """Tells what expressions are.

    Attributes:
        project: the program.
        annotations: tells what annotations say.
        members: tells what attributes are.
        results: tells what calls give.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.annotations = Annotations(self.infer)
        self.members = Members(self)
        self.results = Results(self)
        self._known: dict[ast.AST, Values] = {}
        self._tentative: dict[ast.AST, Values] = {}
        self._open: dict[ast.AST, int] = {}
        self._lowest = _NONE
        self._members: set[tuple[Module, str]] = set()
        self._read: set[tuple[Function, str]] = set()
        self._values: dict[Function, Value] = {}

    def infer(self, node: ast.expr, scope: Scope) -> Values:
        """What an expression may be, as it is read in a scope.

        Expressions may mean each other in a circle. Within one question each is looked into once; an answer that lacks what
        an expression further out is still to give is kept only until the question is answered.
        """
        known = self._known.get(node)
        if known is None:
            known = self._tentative.get(node)
        if known is not None:
            return known
        if node in self._open or len(self._open) > _DEEPEST:
            self._lowest = min(self._lowest, self._open.get(node, 0))
            return NOTHING
        place = self._open[node] = len(self._open)
        outer, self._lowest = self._lowest, _NONE
        try:
            found = self._infer(node, scope)
        finally:
            del self._open[node]
        is_whole = self._lowest >= place
        self._lowest = outer if is_whole else min(outer, self._lowest)
        (self._known if is_whole or not place else self._tentative)[node] = found
        if not place:
            if len(self._tentative) > _ENTANGLED:
                self._known.update(self._tentative)
            self._tentative.clear()
            self._lowest = _NONE
        return found

    def bind(self, function: Function, parameter: str, values: Values) -> bool:
        """Note what is passed to a function; tell whether it is news."""
        known = function.arguments.setdefault(parameter, set())
        if values <= known:
            return False
        known |= values
        if (function, parameter) in self._read:
            self._known.clear()
        return True

    def names(self, node: ast.expr, scope: Scope) -> set[str]:
        """Qualified names of what an expression may be, of things outside the program."""
        return {value.name for value in self.infer(node, scope) if value.kind is Kind.EXTERNAL}

    def operation(self, node: ast.expr, scope: Scope) -> str:
        """The name of the context's operation that an expression is; empty if it is none."""
        return next((value.name for value in self.infer(node, scope) if value.kind is Kind.OPERATION), "")

    def _infer(self, node: ast.expr, scope: Scope) -> Values:
        found = NOTHING
        match node:
            case ast.Name():
                found = self._name(node.id, scope)
            case ast.Attribute():
                bases = self.infer(node.value, scope)
                found = self._union(self.members.attribute(base, node.attr, scope) for base in bases)
            case ast.Call():
                found = self.results.call(node, scope)
            case ast.Await() | ast.NamedExpr() | ast.Starred():
                found = self.infer(node.value, scope)
            case ast.IfExp():
                found = self.infer(node.body, scope) | self.infer(node.orelse, scope)
            case ast.BoolOp():
                found = self._union(self.infer(value, scope) for value in node.values)
            case ast.Lambda():
                found = frozenset({Value(Kind.FUNCTION, target=scope.module.function(node, scope))})
            case ast.Set() | ast.SetComp() if not holds_tasks(node, scope, self):
                found = frozenset({SET})
            case ast.BinOp():
                found = self.results.operator(node, scope)
            case ast.Subscript(slice=ast.Slice()):
                found = self.infer(node.value, scope)
            case ast.Subscript():
                found = self.results.elements(node.value, scope, of_key=False)
            case _:
                pass
        return found

    def _union(self, parts: Iterable[Values]) -> Values:
        return NOTHING.union(*parts)

    # -- names --------------------------------------------------------------------------------------------

    def _name(self, name: str, scope: Scope) -> Values:
        home = scope.lookup(name)
        if home is not None:
            if not home.is_module and is_task_set(name, home, self):
                return NOTHING
            return self._union(self.binding(binding, name) for binding in home.bindings[name])
        return self.starred(name, scope.module) or (
            frozenset({external(f"builtins.{name}")}) if name in _BUILTINS else NOTHING
        )

    def starred(self, name: str, module: Module) -> Values:
        """What a name is by an ``import *`` of a module."""
        found: set[Value] = set()
        for star in module.scope.stars:
            source = self.project.find(module, star.module, star.level)
            if source is not None and source is not module and not name.startswith("_"):
                found |= self.member(source, name)
            elif source is None and star.level == 0 and find_rule(f"{star.module}.{name}") is not None:
                found.add(external(f"{star.module}.{name}"))
        return frozenset(found)

    def binding(self, binding: Binding, name: str) -> Values:
        """What one binding gives a name."""
        match binding.how:
            case How.IMPORT:
                return self._imported(binding)
            case How.FUNCTION:
                assert isinstance(binding.node, (ast.FunctionDef, ast.AsyncFunctionDef))
                return frozenset({self.function(binding.scope.module.function(binding.node, binding.scope))})
            case How.CLASS:
                assert isinstance(binding.node, ast.ClassDef)
                found = binding.scope.module.class_(binding.node, binding.scope)
                return frozenset({Value(Kind.CLASS, target=found)})
            case How.PARAMETER:
                return self._parameter(binding, name)
            case How.ELEMENT if binding.value is not None:
                return self.results.elements(binding.value, binding.scope, of_key=True)
            case How.VALUE | How.ENTER:
                declared = (
                    self.annotations.values((binding.annotation, binding.scope)) if binding.annotation else NOTHING
                )
                return declared | (self.infer(binding.value, binding.scope) if binding.value else NOTHING)
            case _:
                return NOTHING

    def _imported(self, binding: Binding) -> Values:
        module = binding.scope.module
        found = self.project.find(module, binding.module, binding.level)
        if not binding.name:
            return frozenset({Value(Kind.MODULE, target=found) if found is not None else external(binding.module)})
        if found is not None:
            member = self.member(found, binding.name)
            if member:
                return member
        dotted = f"{binding.module}.{binding.name}" if binding.module else binding.name
        inner = self.project.find(module, dotted, binding.level)
        if inner is not None:
            return frozenset({Value(Kind.MODULE, target=inner)})
        return NOTHING if found is not None or binding.level else frozenset({external(dotted)})

    def member(self, module: Module, name: str) -> Values:
        """What a global of a module is."""
        if (module, name) in self._members:  # modules that import each other's names
            return NOTHING
        self._members.add((module, name))
        try:
            return self._member(module, name)
        finally:
            self._members.discard((module, name))

    def _member(self, module: Module, name: str) -> Values:
        bindings = module.scope.bindings.get(name)
        if bindings is not None:
            return self._union(self.binding(binding, name) for binding in bindings)
        found = self.starred(name, module)
        if not found:
            inner = self.project.find(module, name, 1) if module.path.name == "__init__.py" else None
            found = NOTHING if inner is None else frozenset({Value(Kind.MODULE, target=inner)})
        return found

    def _parameter(self, binding: Binding, name: str) -> Values:
        found: set[Value] = set()
        assert binding.function is not None
        function = binding.scope.module.function(binding.function, binding.scope)
        self._read.add((function, name))
        found |= function.arguments.get(name, set())
        owner = function.owner
        if owner is not None and name == function.first_parameter:
            kinds = self.decorations(function)
            if "builtins.staticmethod" not in kinds:
                is_class = "builtins.classmethod" in kinds or function.name == "__new__"
                return frozenset({Value(Kind.CLASS if is_class else Kind.OBJECT, target=owner)})
        if binding.annotation is not None:
            found |= self.annotations.values((binding.annotation, binding.scope))
        if binding.value is not None:
            found |= self.infer(binding.value, binding.scope)
        return frozenset(found)

    # -- functions ----------------------------------------------------------------------------------------

    def function(self, function: Function) -> Value:
        """A function as what its decorators make of it."""
        known = self._values.get(function)
        if known is None:
            names = self.decorations(function)
            if "durable.workflow" in names:
                known = Value(Kind.WORKFLOW, function.name, function)
            elif "durable.step" in names:
                known = Value(Kind.STEP, function.name, function)
            else:
                known = Value(Kind.FUNCTION, target=function)
            self._values[function] = known
        return known

    def decorations(self, function: Function) -> set[str]:
        """Qualified names of a function's decorators, with or without arguments."""
        names: set[str] = set()
        for decorator in function.decorators:
            plain = decorator.func if isinstance(decorator, ast.Call) else decorator
            names |= {v.name for v in self.infer(plain, function.around) if v.kind in (Kind.EXTERNAL, Kind.DECORATOR)}
        return names

    def is_property(self, function: Function) -> bool:
        """Whether reading the attribute calls the function."""
        return bool(self.decorations(function) & {"builtins.property", "functools.cached_property"})
