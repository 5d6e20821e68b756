"""Which forbidden callable is being called: the rules that are seen at the call, by the objects they name.

C functions compare by what they are bound to, so ``datetime.now`` is found under any alias. The functions of
module ``random`` are methods of one hidden generator: they are forbidden for that generator and for those of
the operating system, and free for an author's own ``Random(seed)``.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterable
from functools import reduce
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

from durable.kernel.rules import RULES, Rule, Sight, find_rule

ABSENT: Final = object()
"""In place of a first argument: the call has no arguments."""

UNKNOWN: Final = object()
"""In place of a first argument: it cannot be seen."""


class Callees:
    """Forbidden callables by identity.

    Attributes:
        by_kind: the rules by callable, for each type of callable; bound methods go by their function.
        originals: (module, name) of plain functions and bound methods, to the object: what can be wrapped.
    """

    def __init__(self, rules: Iterable[Rule] = RULES) -> None:
        c_functions: dict[Any, Rule] = {}
        functions: dict[Any, Rule] = {}
        classes: dict[Any, Rule] = {}
        self.by_kind: dict[type, dict[Any, Rule]] = {
            BuiltinFunctionType: c_functions,
            FunctionType: functions,
            MethodType: functions,
            type: classes,
        }
        self.originals: dict[tuple[str, str], Any] = {}
        for rule in rules:
            if rule.sight is Sight.CALL:
                self._add(rule)
        self._add_system_random()
        shared = getattr(random.random, "__self__", None)
        self._shared: Final = shared
        self._system: Final = random.SystemRandom
        self._generator_methods: Final = frozenset(
            value for value in vars(random.Random).values() if isinstance(value, FunctionType)
        )

    def _add(self, rule: Rule) -> None:
        try:
            target = reduce(getattr, rule.name.split("."), importlib.import_module(rule.module))
        except AttributeError:  # this version of Python or this system does not have it
            return
        key = target.__func__ if isinstance(target, MethodType) else target
        self.by_kind[type(target)].setdefault(key, rule)
        if "." not in rule.name and not isinstance(target, type):
            self.originals[rule.module, rule.name] = target

    def _add_system_random(self) -> None:
        rule = find_rule("random.SystemRandom")
        assert rule is not None
        functions = self.by_kind[FunctionType]
        for name, value in vars(random.SystemRandom).items():
            if isinstance(value, FunctionType) and not name.startswith("_"):
                functions.setdefault(value, rule)

    def judge(self, called: Any, first: Any, count: Callable[[], int]) -> Rule | None:
        """Return the rule that this call breaks.

        Args:
            called: the callable.
            first: its first argument, self included, ``ABSENT`` or ``UNKNOWN``.
            count: tells the number of arguments; asked only where it matters.
        """
        kind = type(called)
        if kind is MethodType:
            called, first = called.__func__, called.__self__
        rules = self.by_kind.get(kind)
        rule = None if rules is None else rules.get(called)
        if rule is None:
            return None
        if called in self._generator_methods:
            if first is not self._shared and not isinstance(first, self._system):
                return None
        elif rule.harmless_from and not (first is ABSENT or first is None) and count() >= rule.harmless_from:
            return None
        return rule
