"""The parameters and the result of a callable, with their annotations resolved."""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from types import FunctionType
from typing import Any, Final, Never, NoReturn

from durable.errors import DefinitionError

_ANY_CALL: Final = Signature([Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)])


def signature_of(fn: Callable[..., Any]) -> Signature:
    """The signature of a callable; one written in C may have none and then takes anything."""
    try:
        return inspect.signature(fn)
    except ValueError:
        return _ANY_CALL


class Hints:
    """The annotations of a callable, resolved when they are asked for.

    With ``from __future__ import annotations`` they are texts, whose names are looked up where the function
    could: in its globals, in the variables that it closes over, among its type parameters, and, for a
    function defined within another, among the locals of that other one at the time of the definition. A
    name that is defined further down in the module is not known yet when a decorator runs, so that nothing
    is resolved before it is used.

    Args:
        fn: a function, method, class, callable object or partial.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._cls = fn if isinstance(fn, type) else None
        self._function = _function_of(fn)
        self._locals = _locals_of(self._function) if self._function else {}

    def resolve(self, name: str, owner: str) -> Any:
        """The annotation of a parameter, or of the result (``return``); ``Any`` where there is none.

        Raises:
            DefinitionError: if a name in it is unknown.
        """
        if self._cls is not None and name == "return":
            return self._cls
        if self._function is None:
            return Any
        try:
            raw = self._function.__annotations__
            return self._evaluate(raw[name]) if name in raw else Any
        except (NameError, AttributeError, TypeError, SyntaxError) as error:
            what = "result" if name == "return" else f"parameter {name!r}"
            message = (
                f"expected the annotation of {what} of {owner!r} to be known, got {error}; define its names "
                "at the top of the module, and import them outside of `if TYPE_CHECKING`"
            )
            raise DefinitionError(message) from error

    def _evaluate(self, annotation: Any) -> Any:
        function = typing.cast("Any", self._function)

        def holder() -> None: ...

        holder.__annotations__ = {"it": annotation}
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
        names = {
            **self._locals,
            **{parameter.__name__: parameter for parameter in getattr(function, "__type_params__", ())},
            **{name: cell.cell_contents for name, cell in cells if _is_filled(cell)},
        }
        hint = typing.get_type_hints(holder, function.__globals__, names, include_extras=True)["it"]
        return Any if hint in (Never, NoReturn) else hint


def _function_of(fn: Any) -> FunctionType | None:
    """The Python function whose annotations describe the callable."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    if isinstance(fn, type):
        fn = fn.__init__  # type: ignore[misc]
    elif not inspect.isroutine(fn):
        fn = type(fn).__call__
    fn = inspect.unwrap(getattr(fn, "__func__", fn))
    return fn if isinstance(fn, FunctionType) else None


def _locals_of(function: FunctionType) -> Mapping[str, Any]:
    """The locals of the function that is defining this one right now, if its annotations are texts."""
    enclosing, inner, _ = function.__qualname__.rpartition(".<locals>.")
    if not inner or not any(isinstance(one, str) for one in _annotations(function).values()):
        return {}
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals is function.__globals__ and frame.f_code.co_qualname == enclosing:
            return dict(frame.f_locals)
        frame = typing.cast("Any", frame.f_back)
    return {}


def _annotations(function: FunctionType) -> Mapping[str, Any]:
    try:
        return function.__annotations__
    except (NameError, AttributeError, TypeError):  # pragma: no cover - evaluated here, from Python 3.14 on
        return {}


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
