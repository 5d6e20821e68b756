"""Finds handlers that swallow the cancellation of a run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

from durable.lint.inference import Inference
from durable.lint.problem import Problem
from durable.lint.region import Region
from durable.lint.scope import FUNCTIONS, Scope

_CANCELLED: Final = frozenset({"asyncio.CancelledError", "asyncio.exceptions.CancelledError"})
_BROAD: Final = frozenset({"builtins.BaseException"})
_MAKERS: Final = frozenset({"anyio.get_cancelled_exc_class"})
_SUPPRESSORS: Final = frozenset({"contextlib.suppress"})


def check(region: Region, inference: Inference) -> Iterator[Problem]:
    """Yield the handlers of a region that swallow cancellation."""
    for spot in region.spots:
        node = spot.node
        if isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            assert isinstance(node, (ast.Try, ast.TryStar))
            if waits(node.body):
                yield from _handlers(node.handlers, spot.scope, inference)
            if waits([*node.body, *node.handlers, *node.orelse]):
                yield from _endings(node.finalbody)
        elif isinstance(node, (ast.With, ast.AsyncWith)) and waits(node.body):
            yield from _suppressors(node, spot.scope, inference)


def _handlers(handlers: list[ast.ExceptHandler], scope: Scope, inference: Inference) -> Iterator[Problem]:
    is_passed_on = False
    for handler in handlers:
        broad, cancelled = _caught(handler.type, scope, inference)
        if not (broad or cancelled):
            continue
        raises = any(isinstance(node, ast.Raise) for node in _own(handler.body))
        if not raises and not is_passed_on:
            if broad:
                what = "except:" if handler.type is None else "except BaseException"
                message = f"{what} around an await swallows cancellation{{where}}"
                yield Problem("DURL501", handler, message, "catch Exception, or raise again")
            else:
                message = (
                    "CancelledError is caught and not raised again{where}: the run does not end when it is cancelled"
                )
                yield Problem("DURL502", handler, message, "raise it again after cleaning up")
        is_passed_on = True  # what comes later does not see a cancellation any more


def _caught(node: ast.expr | None, scope: Scope, inference: Inference) -> tuple[bool, bool]:
    """Whether a handler catches everything, and whether it names cancellation."""
    if node is None:
        return True, False
    names: set[str] = set()
    for item in node.elts if isinstance(node, ast.Tuple) else [node]:
        names |= inference.names(item, scope)
        if isinstance(item, ast.Call) and inference.names(item.func, scope) & _MAKERS:
            names |= _CANCELLED
    return bool(names & _BROAD), bool(names & _CANCELLED)


def _endings(body: list[ast.stmt]) -> Iterator[Problem]:
    for node in _own(body, outside_loops=True):
        if isinstance(node, (ast.Return, ast.Break, ast.Continue)):
            word = type(node).__name__.lower()
            message = f"{word} in a finally swallows cancellation{{where}}: it drops the exception that passes through"
            yield Problem("DURL503", node, message, "let the finally end by itself")


def _suppressors(node: ast.With | ast.AsyncWith, scope: Scope, inference: Inference) -> Iterator[Problem]:
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and inference.names(call.func, scope) & _SUPPRESSORS:
            for argument in call.args:
                broad, cancelled = _caught(argument, scope, inference)
                if broad or cancelled:
                    code = "DURL501" if broad else "DURL502"
                    message = "suppress() around an await swallows cancellation{where}"
                    yield Problem(code, call, message, "suppress Exception, or what you expect")
                    break


def waits(body: Iterable[ast.AST]) -> bool:
    """Whether statements have an await of their own."""
    return any(
        isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith))
        or (isinstance(node, ast.comprehension) and bool(node.is_async))
        for node in _own(body)
    )


def _own(body: Iterable[ast.AST], *, outside_loops: bool = False) -> Iterator[ast.AST]:
    """The nodes of statements without those of nested functions; ``break`` and ``continue`` in a loop of their own
    are left out on demand."""
    stack = [(node, False) for node in body]
    while stack:
        node, in_loop = stack.pop()
        if not (outside_loops and in_loop and isinstance(node, (ast.Break, ast.Continue))):
            yield node
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            is_loop = in_loop or isinstance(node, (ast.For, ast.AsyncFor, ast.While))
            stack.extend((child, is_loop) for child in ast.iter_child_nodes(node))
