"""What calls and operators give, and what is in containers."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from durable.lint.annotation import Typed
from durable.lint.member import RETURNS_SELF
from durable.lint.module import Function
from durable.lint.scope import Binding, How, Scope
from durable.lint.value import NOTHING, SET, Kind, Value, Values, external, instance

if TYPE_CHECKING:
    from durable.lint.inference import Inference

_SET_OPERATORS: Final = (ast.BitOr, ast.BitAnd, ast.BitXor, ast.Sub)
_SET_METHODS: Final = frozenset(
    f"builtins.set.{name}" for name in ("union", "intersection", "difference", "symmetric_difference", "copy")
)
_LOWERCASE_CLASSES: Final = frozenset({"datetime.datetime", "datetime.date", "socket.socket"})
_LOOPS: Final = frozenset({"asyncio.get_running_loop", "asyncio.get_event_loop", "asyncio.new_event_loop"})
LOOP: Final = "asyncio.AbstractEventLoop"
_TRANSPARENT: Final = frozenset(
    {"functools.partial", "copy.copy", "copy.deepcopy", "functools.lru_cache", "functools.cache", "contextlib.closing"}
)
"""Calling what these give calls, or is, their first argument."""


class Results:
    """Tells what calls give."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def call(self, node: ast.Call, scope: Scope) -> Values:
        """What a call may give; for a coroutine, what awaiting it gives."""
        found: set[Value] = set()
        for called in self._inference.infer(node.func, scope):
            found |= self._called(called, node, scope)
        return frozenset(found)

    def _called(self, called: Value, node: ast.Call, scope: Scope) -> Values:
        match called.kind:
            case Kind.EXTERNAL:
                return self._external(called.name, node, scope)
            case Kind.DECORATOR:
                return self._decorated(called, node, scope)
            case Kind.CLASS:
                return frozenset({Value(Kind.OBJECT, target=called.target)})
            case Kind.FUNCTION:
                return self.returned(called.target)
            case Kind.OPERATION:
                return self._operation(called.name, node, scope)
            case _:
                return NOTHING

    def _external(self, name: str, node: ast.Call, scope: Scope) -> Values:
        infer = self._inference.infer
        first = node.args[0] if node.args else None
        if name in ("durable.step", "durable.workflow"):
            kind = Value(Kind.DECORATOR, name)
            return frozenset({kind}) if first is None else self._decorated(kind, node, scope)
        if name in ("builtins.set", "builtins.frozenset") or name in _SET_METHODS:
            return frozenset({SET})
        if name == "typing.cast" and first is not None and len(node.args) > 1:
            return self._inference.annotations.values((first, scope)) | infer(node.args[1], scope)
        if name == "builtins.getattr" and len(node.args) > 1:
            return self._getattr(node, scope)
        if name in ("importlib.import_module", "builtins.__import__") and isinstance(first, ast.Constant):
            return self._module(str(first.value), scope)
        if name in _TRANSPARENT and first is not None:
            return infer(first, scope)
        if name in _LOOPS:
            return frozenset({instance(LOOP)})
        if name in RETURNS_SELF:
            return frozenset({instance("pathlib.Path")})
        if name.rpartition(".")[2][:1].isupper() or name in _LOWERCASE_CLASSES:
            return frozenset({instance(name)})
        return NOTHING

    def _getattr(self, node: ast.Call, scope: Scope) -> Values:
        name = node.args[1]
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            return NOTHING
        members = self._inference.members
        bases = self._inference.infer(node.args[0], scope)
        return NOTHING.union(*(members.attribute(base, name.value, scope) for base in bases))

    def _module(self, name: str, scope: Scope) -> Values:
        found = self._inference.project.find(scope.module, name)
        return frozenset({external(name) if found is None else Value(Kind.MODULE, target=found)})

    def _decorated(self, decorator: Value, node: ast.Call, scope: Scope) -> Values:
        if decorator.name == "options":
            return frozenset({decorator.target})
        kind = Kind.STEP if decorator.name == "durable.step" else Kind.WORKFLOW
        if not node.args:
            return NOTHING
        found = self._inference.infer(node.args[0], scope)
        functions = [value.target for value in found if value.kind is Kind.FUNCTION] or [None]
        return frozenset(Value(kind, ast.unparse(node.args[0]), function) for function in functions)

    def _operation(self, name: str, node: ast.Call, scope: Scope) -> Values:
        if name == "now":
            return frozenset({instance("datetime.datetime")})
        if name == "workflow":
            return frozenset({instance("durable.kernel.child.ExternalRun")})
        if name == "start_child":
            return frozenset({instance("durable.kernel.child.ChildHandle")})
        if name in ("step", "child_workflow") and node.args:
            called = self._inference.infer(node.args[0], scope)
            kinds = (Kind.FUNCTION, Kind.STEP, Kind.WORKFLOW)
            functions = [value.target for value in called if value.kind in kinds and value.target is not None]
            return NOTHING.union(*(self._declared(function) for function in functions))
        if name == "ask_user" and len(node.args) > 1:
            return self._inference.annotations.values((node.args[1], scope))
        return NOTHING

    # -- functions ----------------------------------------------------------------------------------------

    def returned(self, function: Function) -> Values:
        """What a function returns: what it declares, else what its ``return`` statements give."""
        if function.returns is not None:
            return self._declared(function)
        parts = (self._inference.infer(node, scope) for node, scope in function.returned())
        return NOTHING.union(*parts)

    def _declared(self, function: Function) -> Values:
        if function.returns is None:
            return NOTHING
        return self._inference.annotations.values((function.returns, function.around))

    # -- operators and containers -------------------------------------------------------------------------

    def operator(self, node: ast.BinOp, scope: Scope) -> Values:
        """What an operator gives: a set of sets or of views of dicts, a path of a path."""
        left = self._inference.infer(node.left, scope)
        if isinstance(node.op, ast.Div):
            return frozenset(value for value in left if value == instance("pathlib.Path"))
        if isinstance(node.op, _SET_OPERATORS):
            right = self._inference.infer(node.right, scope)
            if SET in left or (SET in right and not isinstance(node.op, ast.Sub)):
                return frozenset({SET})
            if _is_view(node.left) or _is_view(node.right):
                return frozenset({SET})
        return NOTHING

    def elements(self, node: ast.expr, scope: Scope, *, of_key: bool) -> Values:
        """What iterating over (``of_key``) or subscribing an expression gives."""
        found: set[Value] = set()
        for item, home in self._displays(node, scope):
            for part in _parts(item, of_key=of_key):
                found |= self._inference.infer(part, home)
        for typed in self._types(node, scope):
            for element in self._inference.annotations.elements(typed, of_key=of_key):
                found |= self._inference.annotations.values(element)
        return frozenset(found)

    def _displays(self, node: ast.expr, scope: Scope) -> Iterator[tuple[ast.expr, Scope]]:
        """The container that an expression writes out, by itself or behind a name."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "values":
            for item, home in self._displays(node.func.value, scope):
                if isinstance(item, ast.Dict):
                    yield ast.List(elts=list(item.values)), home
        elif isinstance(node, ast.Name):
            home_scope = scope.lookup(node.id)
            for binding in home_scope.bindings[node.id] if home_scope is not None else ():
                if binding.how is How.VALUE and isinstance(binding.value, (ast.Tuple, ast.List, ast.Set, ast.Dict)):
                    yield binding.value, binding.scope
        else:
            yield node, scope

    def _types(self, node: ast.expr, scope: Scope) -> Iterator[Typed]:
        """The annotations that are known for an expression."""
        match node:
            case ast.Await() | ast.Subscript(slice=ast.Slice()):
                yield from self._types(node.value, scope)
            case ast.Name():
                home = scope.lookup(node.id)
                yield from _annotations(home.bindings[node.id] if home is not None else ())
            case ast.Attribute():
                for value in self._inference.infer(node.value, scope):
                    if value.kind is Kind.OBJECT:
                        yield from _annotations(value.target.scope.bindings.get(node.attr, ()))
            case ast.Call():
                for value in self._inference.infer(node.func, scope):
                    function = value.target if value.kind is Kind.FUNCTION else self._run_by(value, node, scope)
                    if function is not None and function.returns is not None:
                        yield function.returns, function.around
            case _:
                return

    def _run_by(self, called: Value, node: ast.Call, scope: Scope) -> Function | None:
        """The function that an operation of the context runs."""
        if called.kind is not Kind.OPERATION or called.name not in ("step", "child_workflow") or not node.args:
            return None
        targets = (value.target for value in self._inference.infer(node.args[0], scope))
        return next((target for target in targets if isinstance(target, Function)), None)


def _annotations(bindings: Iterable[Binding]) -> Iterator[Typed]:
    return ((binding.annotation, binding.scope) for binding in bindings if binding.annotation is not None)


def _parts(item: ast.expr, *, of_key: bool) -> list[ast.expr]:
    match item:
        case ast.Tuple() | ast.List() | ast.Set():
            return item.elts
        case ast.Dict():
            return [key for key in item.keys if key is not None] if of_key else item.values
        case _:
            return []


def _is_view(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="keys" | "items"), args=[], keywords=[]):
            return True
        case _:
            return False
