"""Which code is workflow code: workflow functions, what is nested in them, what they use of their module.

Definitions are noted when they are declared and looked into at the first activation, because a module is not
complete while its decorators run. From a workflow function the names that its code uses are followed through
the globals of its module (and the variables that it closes over) to functions and classes of the same module,
and so on. The result is an over-approximation, which does no harm: a hit counts only on a kernel loop, and
whatever runs there is workflow code. Steps are left out, so that they run at full speed.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any


class Watchlist:
    """The code objects of workflows. Callers hold a lock around everything but reading.

    Attributes:
        codes: watched code objects by identity (their own hash reads every constant).
        names: the workflow's name by the identity of its function's code object.
        files: file names of workflow modules.
        namespaces: the globals of workflow modules by identity.
    """

    def __init__(self) -> None:
        self.codes: dict[int, CodeType] = {}
        self.names: dict[int, str] = {}
        self.files: set[str] = set()
        self.namespaces: dict[int, dict[str, Any]] = {}
        self._exempt: dict[int, CodeType] = {}
        self._pending: list[FunctionType] = []

    def add(self, function: Callable[..., Any], name: str) -> None:
        """Note a workflow function, to be looked into by ``collect``."""
        target = plain_function(function)
        if target is not None:
            self._pending.append(target)
            self.names[id(target.__code__)] = name
            self.codes[id(target.__code__)] = target.__code__

    def exempt(self, function: Callable[..., Any]) -> list[CodeType]:
        """Leave a step out from now on; return what was watched of it until now."""
        target = plain_function(function)
        if target is None or id(target.__code__) in self.names:
            return []
        codes = list(_nested(target.__code__))
        self._exempt.update((id(code), code) for code in codes)
        return [code for code in codes if self.codes.pop(id(code), None) is not None]

    def collect(self) -> list[CodeType]:
        """Look into what was added, again where its module is under import; return the codes to watch."""
        found: dict[int, CodeType] = {}
        unfinished = []
        for function in self._pending:
            self.files.add(function.__code__.co_filename)
            self.namespaces[id(function.__globals__)] = function.__globals__
            for reached in self._reach(function):
                found.update((id(code), code) for code in _nested(reached.__code__) if id(code) not in self._exempt)
            if _is_importing(function.__module__):
                unfinished.append(function)
        self._pending = unfinished
        self.codes.update(found)
        return list(found.values())

    def is_complete(self) -> bool:
        """Tell whether nothing is left for ``collect``."""
        return not self._pending

    def _reach(self, root: FunctionType) -> Iterator[FunctionType]:
        seen = {id(root)}
        stack = [root]
        while stack:
            function = stack.pop()
            yield function
            for value in _used(function):
                stack.extend(
                    part
                    for part in _functions_in(value, root.__module__, seen)
                    if part.__globals__ is root.__globals__ and id(part.__code__) not in self._exempt
                )


def plain_function(function: Callable[..., Any]) -> FunctionType | None:
    """Return the Python function behind wrappers, partials, methods and callable objects, if there is one."""
    value: Any = function
    for _ in range(32):  # wrappers do not nest deeper, and one that wraps itself must not hang an import
        if isinstance(value, FunctionType):
            if "__wrapped__" not in value.__dict__:
                return value
            value = value.__dict__["__wrapped__"]
        elif isinstance(value, MethodType):
            value = value.__func__
        elif isinstance(value, functools.partial):
            value = value.func
        else:
            value = getattr(value, "__wrapped__", None) or getattr(type(value), "__call__", None)  # noqa: B004
    return None


def _used(function: FunctionType) -> Iterable[Any]:
    """Values of the globals and closed-over variables that the function's code names."""
    namespace = function.__globals__
    for code in _nested(function.__code__):
        for name in code.co_names:
            if name in namespace:
                yield namespace[name]
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _functions_in(value: Any, module: str, seen: set[int]) -> Iterator[FunctionType]:
    """Functions that a value is, wraps, or as a class of ``module`` defines."""
    if id(value) in seen:
        return
    inner: tuple[Any, ...] = ()
    if isinstance(value, FunctionType):
        seen.add(id(value))
        yield value
        inner = (value.__dict__.get("__wrapped__"),)
    elif isinstance(value, (staticmethod, classmethod, MethodType)):
        inner = (value.__func__,)
    elif isinstance(value, property):
        inner = (value.fget, value.fset, value.fdel)
    elif isinstance(value, (functools.partial, functools.cached_property)):
        inner = (value.func,)
    elif isinstance(value, functools._lru_cache_wrapper):
        inner = (value.__wrapped__,)
    elif isinstance(value, type) and value.__module__ == module:
        seen.add(id(value))
        inner = (*vars(value).values(), *value.__bases__)
    for part in inner:
        yield from _functions_in(part, module, seen)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _is_importing(module: str) -> bool:
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))
