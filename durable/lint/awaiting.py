"""Finds steps and workflows that are called directly, and operations that nobody awaits."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Final

from durable.lint.inference import Inference
from durable.lint.module import own_nodes
from durable.lint.problem import Problem
from durable.lint.region import Region, Spot
from durable.lint.scope import FUNCTIONS
from durable.lint.value import Kind

_AWAITED: Final = frozenset(
    {
        "step", "child_workflow", "start_child", "sleep", "sleep_until", "ask_user", "ask_approval", "wait_signal",
        "wait_condition", "rollback",
    }
)  # fmt: skip
_EXTERNAL: Final = frozenset(
    {
        "asyncio.sleep", "anyio.sleep", "anyio.sleep_until", "anyio.sleep_forever", "durable.kernel.child.ExternalRun.signal",
        "durable.kernel.child.ExternalRun.cancel", "durable.kernel.child.ChildHandle.signal",
        "durable.kernel.child.ChildHandle.result",
    }
)  # fmt: skip
_CALLING: Final = frozenset({"start_soon", "start", "call_soon", "call_later", "call_at"})
_CALLERS: Final = frozenset({"builtins.map", "builtins.filter", "itertools.starmap"})
_LETTING_GO: Final = frozenset({"close", "cancel"})
_LOOKING: Final = (ast.Compare, ast.UnaryOp, ast.BinOp, ast.JoinedStr, ast.Expr, ast.If, ast.While)
_PASSING: Final = (ast.BoolOp, ast.IfExp, ast.FormattedValue, ast.NamedExpr)
"""What looks at a variable without awaiting it or handing it on; and what gives it to what is around."""

_NOT_AWAITED: Final = "without await nothing is scheduled"
_AWAIT: Final = "write await before it, or hand it to gather, create_task or start_soon"


def check(region: Region, inference: Inference) -> Iterator[Problem]:
    """Yield the misuses of definitions and operations in a region."""
    for spot in region.spots:
        if isinstance(spot.node, ast.Call):
            yield from _direct(spot.node, spot, inference)
            yield from _forgotten(spot.node, spot, region, inference)
        elif spot.is_unguarded and isinstance(spot.node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
            message = "an await inside ctx.unguarded(){where}: the other tasks of the run are unguarded meanwhile"
            yield Problem("DURL204", spot.node, message, "move it out of the block")


def _direct(node: ast.Call, spot: Spot, inference: Inference) -> Iterator[Problem]:
    callables = [node.func]
    is_method = isinstance(node.func, ast.Attribute) and node.func.attr in _CALLING
    if is_method or inference.names(node.func, spot.scope) & _CALLERS:
        callables.extend(node.args)
    for item in callables:
        for value in inference.infer(item, spot.scope):
            if value.kind is Kind.STEP:
                message = f"step {value.name} is called directly{{where}}: its result would not be recorded"
                yield Problem("DURL201", node, message, f"write: await ctx.step({value.name}, ...)")
                return
            if value.kind is Kind.WORKFLOW:
                message = f"workflow {value.name} is called directly{{where}}: it would share its caller's history"
                yield Problem("DURL202", node, message, f"write: await ctx.child_workflow({value.name}, ...)")
                return


def _forgotten(node: ast.Call, spot: Spot, region: Region, inference: Inference) -> Iterator[Problem]:
    what = _awaitable(node, spot, inference)
    if what and not _is_used(node, spot, region):
        yield Problem("DURL203", node, f"{what} is not awaited{{where}}: {_NOT_AWAITED}", _AWAIT)


def _awaitable(node: ast.Call, spot: Spot, inference: Inference) -> str:
    """What a call makes that has to be awaited, in words; empty for anything else."""
    for value in inference.infer(node.func, spot.scope):
        if value.kind is Kind.OPERATION and value.name in _AWAITED:
            return f"ctx.{value.name}(...)"
        if value.kind is Kind.EXTERNAL and value.name in _EXTERNAL:
            return f"{value.name.removeprefix('durable.kernel.child.')}(...)"
        if value.kind is Kind.FUNCTION and value.target.is_async and value.target.decorators == []:
            return f"{value.target.name}(...)"
    return ""


def _is_used(node: ast.expr, spot: Spot, region: Region) -> bool:
    """Whether something is awaited or handed on."""
    child: ast.AST = node
    for around in region.ancestors(node):
        match around:
            case ast.Await() | ast.Call() | ast.keyword() | ast.Return() | ast.Yield() | ast.YieldFrom() | ast.Lambda():
                return not (isinstance(around, ast.Call) and around.func is child)
            case ast.Starred() | ast.IfExp() | ast.NamedExpr() | ast.List() | ast.Tuple() | ast.Set() | ast.Dict():
                if isinstance(around, ast.IfExp) and around.test is child:
                    return False
                if isinstance(around, ast.NamedExpr) and _is_name_used(around.target.id, spot, region):
                    return True
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp() | ast.BoolOp():
                pass
            case ast.Assign() | ast.AnnAssign():
                return _are_used(around.targets if isinstance(around, ast.Assign) else [around.target], spot, region)
            case ast.Attribute(attr=name):
                return name in _LETTING_GO
            case ast.withitem() | ast.For() | ast.AsyncFor() | ast.comprehension():
                return True
            case _:
                return False
        child = around
    return True  # the value of a lambda


def _are_used(targets: Sequence[ast.expr], spot: Spot, region: Region) -> bool:
    for target in targets:
        if isinstance(target, (ast.Tuple, ast.List)):
            if _are_used(target.elts, spot, region):
                return True
        elif not isinstance(target, ast.Name) or _is_name_used(target.id, spot, region):
            return True
    return False


def _is_name_used(name: str, spot: Spot, region: Region) -> bool:
    """Whether a variable is awaited or handed on anywhere, in nested functions too."""
    function = spot.scope.function()
    node = None if function is None else function.node
    if function is None or not isinstance(node, FUNCTIONS) or function.is_outer(name):
        return True
    own = {inner for inner in own_nodes(node) if _reads(inner, name)}
    if any(_reads(inner, name) and inner not in own for inner in ast.walk(node)):
        return True  # a nested function has it
    return any(inner not in region.parents or _is_name_handed(inner, region) for inner in own)


def _reads(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)


def _is_name_handed(node: ast.AST, region: Region) -> bool:
    around = next((item for item in region.ancestors(node) if not isinstance(item, _PASSING)), None)
    if isinstance(around, ast.Attribute):
        return around.attr in _LETTING_GO or around.attr in ("append", "add", "extend")
    return not isinstance(around, _LOOKING)
