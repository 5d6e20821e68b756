"""Sets that are safe to iterate over: tasks, futures and operations hash by their number of creation (rule L3)."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from durable.lint.scope import How, Scope
from durable.lint.value import Kind
from durable.lint.walk import everything

if TYPE_CHECKING:
    from durable.lint.inference import Inference

_MAKERS: Final = frozenset({"asyncio.create_task", "asyncio.ensure_future"})
_MAKING: Final = frozenset({"create_task", "create_future"})
"""Methods of loops and task groups."""

_DEEPEST: Final = 4
_OPERATIONS: Final = frozenset({"step", "child_workflow", "start_child"})


def holds_tasks(node: ast.expr, scope: Scope, inference: Inference) -> bool:
    """Whether a set display or comprehension holds only tasks."""
    if isinstance(node, ast.Set):
        return all(_is_task(item, scope, inference) for item in node.elts)
    return isinstance(node, ast.SetComp) and _is_task(node.elt, scope.child(node), inference)


def is_task_set(name: str, home: Scope, inference: Inference) -> bool:
    """Whether a local variable begins as an empty set, and only tasks are added to it."""
    starts = [binding for binding in home.bindings[name] if binding.how is How.VALUE]
    if not starts or not all(_is_empty_set(binding.value) for binding in starts):
        return False
    added = [
        (argument, scope)
        for node, scope in everything(home)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add"
        if isinstance(node.func.value, ast.Name) and node.func.value.id == name
        for argument in node.args
    ]
    return bool(added) and all(_is_task(node, scope, inference) for node, scope in added)


def _is_empty_set(node: ast.expr | None) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="set"), args=[], keywords=[]):
            return True
        case _:
            return False


def _is_task(node: ast.expr, scope: Scope, inference: Inference, depth: int = 0) -> bool:
    if isinstance(node, ast.Await):
        node = node.value
    if isinstance(node, ast.Name) and depth < _DEEPEST:
        home = scope.lookup(node.id)
        bindings = [item for item in home.bindings[node.id] if item.how is How.VALUE] if home is not None else []
        return bool(bindings) and all(
            binding.value is not None and _is_task(binding.value, binding.scope, inference, depth + 1)
            for binding in bindings
        )
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr in _MAKING:
        return True
    for value in inference.infer(node.func, scope):
        if value.kind is Kind.OPERATION and value.name in _OPERATIONS:
            return True
        if value.kind is Kind.EXTERNAL and value.name in _MAKERS:
            return True
    return False
