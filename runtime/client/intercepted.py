"""The client's side of interceptors: a decorator for methods that reach the store."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from durable.interceptor import ClientCall, Interceptor, chain

P = ParamSpec("P")
R = TypeVar("R")


class Caller(Protocol):
    """What the decorator must know of an object."""

    def _call_context(self, first: object, /) -> tuple[Sequence[Interceptor], str, str]:
        """The interceptors, the target and the actor of a call, given its first argument."""
        ...


C = TypeVar("C", bound=Caller)

Method = Callable[Concatenate[C, P], Coroutine[Any, Any, R]]


def intercepted(operation: str) -> Callable[[Method[C, P, R]], Method[C, P, R]]:
    """Run the client's interceptors around a method."""

    def decorate(method: Method[C, P, R]) -> Method[C, P, R]:
        @wraps(method)
        async def call(self: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
            interceptors, target, actor = self._call_context(args[0] if args else None)
            if not interceptors:
                return await method(self, *args, **kwargs)
            about = ClientCall(operation, target, actor)
            result: R = await chain(interceptors, "call_client", about, lambda: method(self, *args, **kwargs))()
            return result

        return call

    return decorate
