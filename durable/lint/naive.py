"""Finds datetimes that name no instant, or that depend on the machine's time zone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from durable.lint.inference import Inference
from durable.lint.problem import Problem
from durable.lint.region import Region
from durable.lint.scope import How, Scope

_ZONE: Final = {"datetime.datetime": 8, "datetime.datetime.fromtimestamp": 2}
"""Makers of datetimes, and with how many positional arguments one of them is the time zone."""

_LOCAL: Final = frozenset({"datetime.datetime.fromtimestamp"})
_ALWAYS_NAIVE: Final = frozenset({"datetime.datetime.utcfromtimestamp", "datetime.datetime.utcnow"})
_GIVE: Final = "give it a time zone: tzinfo=UTC"
_DEEPEST: Final = 8


def check(region: Region, inference: Inference) -> Iterator[Problem]:
    """Yield the naive datetimes of a region that are used as instants, and what asks for the local time zone."""
    for spot in region.spots:
        node, scope, is_unguarded = spot
        if is_unguarded:
            continue
        if isinstance(node, ast.Call):
            yield from _local(node, scope, inference)
            if inference.operation(node.func, scope) == "sleep_until":
                arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
                for argument in arguments:
                    if _is_naive(argument, scope, inference):
                        message = "a naive datetime is passed to ctx.sleep_until{where}: it names no instant"
                        yield Problem("DURL601", argument, message, _GIVE)
            elif _is_stripped_now(node, scope, inference):
                message = "the time zone of ctx.now() is taken away{where}: what is left names no instant"
                yield Problem("DURL601", node, message, "keep it aware")
        elif isinstance(node, (ast.BinOp, ast.Compare)):
            yield from _mixed(node, scope, inference)


def _local(node: ast.Call, scope: Scope, inference: Inference) -> Iterator[Problem]:
    names = inference.names(node.func, scope)
    if names & _LOCAL and not _has_zone(node, 2, ("tz",)):
        message = "datetime.fromtimestamp() without a time zone{where}: it takes the machine's"
        yield Problem("DURL602", node, message, "name the time zone: fromtimestamp(..., UTC)")
    elif "datetime.datetime.utcfromtimestamp" in names:
        message = "datetime.utcfromtimestamp() makes a naive datetime{where}: it names no instant"
        yield Problem("DURL601", node, message, "use datetime.fromtimestamp(..., UTC)")
    elif "datetime.datetime.astimezone" in names and not node.args and not node.keywords:
        message = "astimezone() without a time zone{where}: it takes the machine's"
        yield Problem("DURL602", node, message, "name the time zone: astimezone(UTC)")
    elif "datetime.date.fromtimestamp" in names:
        message = "date.fromtimestamp(){where}: it takes the machine's time zone"
        yield Problem("DURL602", node, message, "use datetime.fromtimestamp(..., UTC).date()")


def _mixed(node: ast.BinOp | ast.Compare, scope: Scope, inference: Inference) -> Iterator[Problem]:
    """A naive datetime held against ``ctx.now()``."""
    if isinstance(node, ast.BinOp):
        sides = [node.left, node.right] if isinstance(node.op, ast.Sub) else []
    else:
        sides = [node.left, *node.comparators]
    if any(_is_now(side, scope, inference) for side in sides):
        for side in sides:
            if _is_naive(side, scope, inference):
                message = "a naive datetime is held against ctx.now(){where}: Python refuses that"
                yield Problem("DURL601", side, message, _GIVE)


def _is_now(node: ast.expr, scope: Scope, inference: Inference) -> bool:
    return isinstance(node, ast.Call) and inference.operation(node.func, scope) == "now"


def _is_stripped_now(node: ast.Call, scope: Scope, inference: Inference) -> bool:
    return isinstance(node.func, ast.Attribute) and _strips(node) and _is_now(node.func.value, scope, inference)


def _strips(node: ast.Call) -> bool:
    """``.replace(tzinfo=None)``."""
    return (
        isinstance(node.func, ast.Attribute)
        and node.func.attr == "replace"
        and any(keyword.arg == "tzinfo" and _is_none(keyword.value) for keyword in node.keywords)
    )


def _is_naive(node: ast.expr, scope: Scope, inference: Inference, depth: int = 0) -> bool:
    """Whether an expression is certainly a naive datetime."""
    if depth > _DEEPEST:
        return False
    match node:
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            return _is_naive(node.left, scope, inference, depth + 1)
        case ast.Name():
            home = scope.lookup(node.id)
            bindings = home.bindings[node.id] if home is not None else []
            return bool(bindings) and all(
                binding.how is How.VALUE
                and binding.value is not None
                and _is_naive(binding.value, binding.scope, inference, depth + 1)
                for binding in bindings
            )
        case ast.Call():
            return _makes_naive(node, scope, inference, depth)
        case _:
            return False


def _makes_naive(node: ast.Call, scope: Scope, inference: Inference, depth: int) -> bool:
    names = inference.names(node.func, scope)
    if names & _ALWAYS_NAIVE:
        return True
    for name, position in _ZONE.items():
        if name in names:
            return not _has_zone(node, position, ("tzinfo", "tz"))
    if "datetime.datetime.strptime" in names and len(node.args) == 2:
        pattern = node.args[1]
        return isinstance(pattern, ast.Constant) and "%z" not in str(pattern.value)
    if "datetime.datetime.combine" in names and len(node.args) == 2 and not node.keywords:
        return _is_naive_time(node.args[1], scope, inference)
    if isinstance(node.func, ast.Attribute) and node.func.attr == "replace":
        zones = [keyword.value for keyword in node.keywords if keyword.arg == "tzinfo"]
        return _is_none(zones[0]) if zones else _is_naive(node.func.value, scope, inference, depth + 1)
    return False


def _is_naive_time(node: ast.expr, scope: Scope, inference: Inference) -> bool:
    return (
        isinstance(node, ast.Call)
        and "datetime.time" in inference.names(node.func, scope)
        and not _has_zone(node, 5, ("tzinfo",))
    )


def _has_zone(node: ast.Call, position: int, keywords: tuple[str, ...]) -> bool:
    if any(isinstance(argument, ast.Starred) for argument in node.args):
        return True
    given = [keyword.value for keyword in node.keywords if keyword.arg in keywords or keyword.arg is None]
    given.extend(node.args[position - 1 : position])
    return any(not _is_none(value) for value in given)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
