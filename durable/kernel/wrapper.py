"""Calls of workflow code, seen without ``sys.monitoring``: wrappers in workflow modules, a profile function.

Python 3.11 has no way to watch the calls of chosen code objects at a bearable price, so the modules of
workflows get stand-ins for what they imported: a name that holds a forbidden function holds a wrapper of it,
and a name that holds ``time``, ``random``, ``uuid``, ``os`` or ``secrets`` holds a stand-in of that module.
Nothing outside these modules is touched, with one exception: ``threading.Thread.start``, whose audit event
came with 3.12.

Types cannot be wrapped without breaking ``isinstance``, so ``datetime.now`` gets through, and so does what is
imported inside a function. The test harness switches a profile function on, which sees both and is too slow
for production.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Container, Iterable
from functools import wraps
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from durable.kernel.callee import ABSENT, UNKNOWN, Callees

Judge = Callable[[Any, Any, FrameType], None]


class GuardedCall:
    """Stands in for a forbidden function in a workflow module, and is it in every other respect."""

    __slots__ = ("_judge", "_original")

    def __init__(self, original: Any, judge: Judge) -> None:
        self._original = original
        self._judge = judge

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._judge(self._original, args[0] if args else ABSENT, sys._getframe(1))
        return self._original(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self._original,)

    def __repr__(self) -> str:
        return repr(self._original)

    def stands_for(self, value: Any) -> bool:
        """Tell whether this is the wrapper of ``value``, and not of what a test has replaced."""
        return self._original is value


def _itself(value: Any) -> Any:
    return value


class GuardedModule(ModuleType):
    """Stands in for a module with forbidden functions; all else is read from and written to the original."""

    def __init__(self, original: ModuleType, calls: dict[str, GuardedCall]) -> None:
        super().__init__(original.__name__)
        vars(self).clear()  # so that every name is looked up in the original
        vars(self).update(_original=original, _calls=calls)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._original, name)
        call = self._calls.get(name)
        return value if call is None or not call.stands_for(value) else call

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._original, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._original, name)

    def __dir__(self) -> Iterable[str]:
        return dir(self._original)


class Wrapper:
    """The wrapping of workflow modules.

    Args:
        callees: the forbidden callables.
        codes: identities of the code objects of workflow code; may change later.
        judge: asked about each call of a forbidden callable from that code; raises if it counts.
    """

    def __init__(self, callees: Callees, codes: Container[int], judge: Judge) -> None:
        self._callees = callees
        self._codes = codes
        self._judge = judge
        self._calls: dict[Any, GuardedCall] = {}
        modules: dict[str, dict[str, GuardedCall]] = {}
        for (module, name), original in callees.originals.items():
            call = self._calls.setdefault(original, GuardedCall(original, self._judge_watched))
            modules.setdefault(module, {})[name] = call
        self._modules = {module: GuardedModule(sys.modules[module], calls) for module, calls in modules.items()}

    def wrap(self, namespaces: Iterable[dict[str, Any]]) -> None:
        """Put wrappers in place of what workflow modules have imported."""
        for namespace in namespaces:
            for name, value in list(namespace.items()):
                stand_in = self._stand_in(value)
                if stand_in is not None:
                    namespace[name] = stand_in

    def _stand_in(self, value: Any) -> object | None:
        if type(value) is ModuleType:
            guarded = self._modules.get(value.__name__)
            return guarded if guarded is not None and sys.modules.get(value.__name__) is value else None
        if type(value) in self._callees.by_kind and not isinstance(value, type):
            return self._calls.get(value)
        return None

    def wrap_thread_start(self, judge: Judge) -> None:
        """Announce the start of every thread of the process, as later versions of Python do themselves."""
        start = threading.Thread.start

        @wraps(start)
        def guarded_start(self: threading.Thread) -> None:
            judge(start, self, sys._getframe(1))
            start(self)

        threading.Thread.start = guarded_start  # type: ignore[method-assign]

    def _judge_watched(self, called: Any, first: Any, frame: FrameType) -> None:
        if id(frame.f_code) in self._codes:
            self._judge(called, first, frame)


def make_profile(callees: Callees, codes: Container[int], judge: Judge) -> Callable[[FrameType, str, Any], None]:
    """Return a profile function for ``sys.setprofile`` that sees every call of workflow code.

    Args:
        callees: the forbidden callables.
        codes: identities of the code objects of workflow code; may change later.
        judge: asked about each call of a forbidden callable from that code; raises if it counts.
    """
    functions: dict[CodeType, Any] = {
        function.__code__: function for function in callees.by_kind[FunctionType] if isinstance(function, FunctionType)
    }

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            if id(frame.f_code) in codes:
                judge(argument, UNKNOWN, frame)
        elif event == "call":
            caller = frame.f_back
            if caller is not None and id(caller.f_code) in codes and frame.f_code in functions:
                names = frame.f_code.co_varnames
                first = frame.f_locals[names[0]] if names else ABSENT
                judge(functions[frame.f_code], first, caller)

    return profile
