"""Finds what only steps may call, by the table that the guard reads (``durable.kernel.rules``)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from durable.kernel.refusal import refused_methods
from durable.kernel.rules import Category, Rule, find_rule
from durable.lint.code import BY_CATEGORY
from durable.lint.inference import Inference
from durable.lint.problem import Problem
from durable.lint.region import Region, Spot
from durable.lint.result import LOOP
from durable.lint.scope import How, Scope
from durable.lint.variable import global_bindings
from durable.lint.walk import expressions

_REFUSED: Final = {f"{LOOP}.{name}": grounds for name, grounds in refused_methods().items()}
_IDENTITY: Final = frozenset({"id", "hash"})
_ASKING: Final = frozenset(
    {
        "builtins.isinstance",
        "builtins.issubclass",
        "builtins.hasattr",
        "builtins.getattr",
        "builtins.type",
        "typing.cast",
    }
)
"""Calls that look at a callable without calling it."""

_FACTORIES: Final = frozenset({"default_factory", "factory", "key", "target"})
_CALLERS: Final = frozenset({"functools.partial", "builtins.map", "builtins.filter", "collections.defaultdict"})
_PER_PROCESS: Final = frozenset({Category.CLOCK, Category.RANDOMNESS, Category.ENVIRONMENT})


def check(region: Region, inference: Inference) -> Iterator[Problem]:
    """Yield the forbidden calls of a region, callbacks and what modules computed by them."""
    for spot in region.spots:
        if spot.is_unguarded or _defines_identity(region):
            continue
        node = spot.node
        if isinstance(node, ast.Call):
            yield from _calls(node, spot, region, inference)
        elif isinstance(node, ast.keyword) and node not in region.parents:
            yield from _callback(node.value, spot.scope, inference, is_factory=True)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            yield from _environment(node, spot, region, inference)
            yield from _computed(node, spot, inference)


def _calls(node: ast.Call, spot: Spot, region: Region, inference: Inference) -> Iterator[Problem]:
    called = inference.names(node.func, spot.scope)
    for name in sorted(called):
        rule = rule_of(name)
        if rule is not None and not is_harmless(rule, node):
            yield problem(rule, name, node)
            return
        grounds = _REFUSED.get(name)
        if grounds is not None:
            method = name.rpartition(".")[2]
            yield Problem(
                "DURL111", node, f"loop.{method}() {grounds.reason}{{where}}: the loop refuses it", grounds.remedy
            )
            return
    if called & _ASKING or inference.operation(node.func, spot.scope):
        return
    given = [(argument, "") for argument in node.args]
    given.extend((keyword.value, keyword.arg or "") for keyword in node.keywords)
    for argument, name in given:
        if argument not in region.handed:
            is_factory = bool(called & _CALLERS) or name in _FACTORIES
            yield from _callback(argument, spot.scope, inference, is_factory=is_factory)


def _callback(node: ast.expr, scope: Scope, inference: Inference, *, is_factory: bool) -> Iterator[Problem]:
    """A forbidden callable that is passed on."""
    if not isinstance(node, (ast.Name, ast.Attribute)):
        return
    for name in sorted(inference.names(node, scope)):
        rule = rule_of(name)
        if rule is not None and (is_factory or not _is_class(rule)):
            yield problem(rule, name, node, passed=True)
            return


def _environment(node: ast.Name | ast.Attribute, spot: Spot, region: Region, inference: Inference) -> Iterator[Problem]:
    """``os.environ`` in every form but ``os.environ.get()``, which is a call like others."""
    around = region.parents.get(node)
    if isinstance(around, ast.Attribute) and around.attr == "get":
        return
    if "os.environ" in inference.names(node, spot.scope):
        rule = find_rule("os.environ.get")
        assert rule is not None
        code = BY_CATEGORY[rule.category]
        yield Problem(code, node, f"os.environ is read{{where}}: {rule.reason}", rule.remedy)


def _computed(node: ast.Name | ast.Attribute, spot: Spot, inference: Inference) -> Iterator[Problem]:
    """A global whose value was computed by a forbidden call when its module was imported."""
    for binding, name in global_bindings(node, spot.scope, inference):
        value = binding.value
        if binding.how is not How.VALUE or value is None:
            continue
        found = _computed_by(value, binding.scope, inference)
        if found is not None:
            call, rule = found
            message = f"{name} is computed by {call} when its module is imported{{where}}: {rule.reason}"
            yield Problem("DURL403", node, message, "compute it in a step, or pass it in as an argument")
            return


def _computed_by(value: ast.expr, scope: Scope, inference: Inference) -> tuple[str, Rule] | None:
    """What in the value of a global differs between processes."""
    for node, home in expressions(value, scope):
        if isinstance(node, ast.Call):
            for name in sorted(inference.names(node.func, home)):
                rule = rule_of(name)
                differs = rule is not None and rule.category in _PER_PROCESS and not _is_class(rule)
                if rule is not None and differs and not is_harmless(rule, node):
                    return f"{rule.call}()", rule
        elif isinstance(node, ast.Lambda):
            return None
        elif isinstance(node, (ast.Name, ast.Attribute)) and "os.environ" in inference.names(node, home):
            rule = find_rule("os.environ.get")
            assert rule is not None
            return "os.environ", rule
    return None


def rule_of(name: str) -> Rule | None:
    """The rule about a qualified name; methods of the system's generator go by the rule of its class."""
    if name.startswith("random.SystemRandom."):
        name = "random.SystemRandom"
    return find_rule(name)


def is_harmless(rule: Rule, call: ast.Call) -> bool:
    """Whether a call has the arguments that make it harmless."""
    if not rule.harmless_from:
        return False
    arguments = [item for item in call.args if not _is_nothing(item)]
    if not arguments and not call.keywords:
        return False
    first = arguments[0] if arguments else call.keywords[0].value
    if isinstance(first, ast.Constant) and first.value is None:
        return False
    unknown = any(isinstance(item, ast.Starred) for item in arguments) or any(k.arg is None for k in call.keywords)
    return unknown or len(arguments) + len(call.keywords) >= rule.harmless_from


def _is_nothing(node: ast.expr) -> bool:
    """``*()``."""
    return isinstance(node, ast.Starred) and isinstance(node.value, (ast.Tuple, ast.List)) and not node.value.elts


def problem(rule: Rule, name: str, node: ast.expr, *, passed: bool = False) -> Problem:
    """The problem that breaking a rule with the callable ``name`` is."""
    code = "DURL302" if rule.module == "builtins" and rule.name in _IDENTITY else BY_CATEGORY[rule.category]
    call = name if rule.name == "*" else rule.call
    what = f"{call} is passed on to be called" if passed else f"{call}() is called"
    return Problem(code, node, f"{what}{{where}}: {rule.reason}", rule.remedy)


def _is_class(rule: Rule) -> bool:
    return rule.name.rpartition(".")[2][:1].isupper() or rule.name == "socket"


def _defines_identity(region: Region) -> bool:
    """``__hash__`` may call ``hash``: what it gives is looked at where sets are."""
    return region.function is not None and region.function.name == "__hash__"
