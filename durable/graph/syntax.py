"""What syntax trees of workflow code say, in words."""

from __future__ import annotations

import ast
from typing import Final

Function = ast.FunctionDef | ast.AsyncFunctionDef

LONGEST: Final = 40
"""Labels are cut to so many characters."""


def clip(text: str, limit: int = LONGEST) -> str:
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def text_of(node: ast.AST | None) -> str:
    """An expression in words: a text as it is, with what it has put in, a call of an exception by its class, else the code."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str(text)):
            return clip(text)
        case ast.JoinedStr():
            parts = [part.value if isinstance(part, ast.Constant) else _put_in(part) for part in node.values]
            return clip("".join(map(str, parts)))
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(text)), *_]) if name[:1].isupper():
            return clip(text) if name in ("Signal", "Query", "Update") else name
        case ast.Call(func=ast.Name(id=name)) if name[:1].isupper():
            return name
        case _:
            return clip(ast.unparse(node))


def _put_in(part: ast.expr) -> str:
    return f"{{{ast.unparse(part.value)}}}" if isinstance(part, ast.FormattedValue) else ast.unparse(part)


def subject(node: ast.AST | None) -> str:
    """The step or workflow that is called, without the options of the call."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "options":
        node = node.func.value
    if isinstance(node, ast.Call) and called(node) == "step" and node.args:  # step(fn, timeout=...)
        return subject(node.args[0])
    return text_of(node)


def called(node: ast.Call) -> str:
    """The last name of what is called: ``gather`` of ``asyncio.gather(...)``."""
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def is_context_call(node: ast.Call, context: str) -> bool:
    """Whether a method of the context is called, or one of the run that ``ctx.workflow(id)`` is."""
    if not isinstance(node.func, ast.Attribute):
        return False
    owner = node.func.value
    if isinstance(owner, ast.Name):
        return owner.id == context
    is_run = isinstance(owner, ast.Call) and called(owner) == "workflow"
    return is_run and isinstance(owner, ast.Call) and is_context_call(owner, context)


def compensation_of(node: ast.AST | None, known: dict[str, Function]) -> str:
    """What undoes a step, as its call or its declaration says."""
    while isinstance(node, ast.Call):
        found = _compensate(node)
        if found:
            return found
        node = node.func.value if isinstance(node.func, ast.Attribute) else None
    function = known.get(node.id) if isinstance(node, ast.Name) else None
    decorators = [] if function is None else function.decorator_list
    return next((found for one in decorators if isinstance(one, ast.Call) and (found := _compensate(one))), "")


def _compensate(node: ast.Call) -> str:
    return next((subject(keyword.value) for keyword in node.keywords if keyword.arg == "compensate"), "")
