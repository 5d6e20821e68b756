"""The blocking client: the same client for code that is not async.

    from runtime.sync import Client

    with Client("sqlite:///app.db") as client:
        run = client.start("deploy", "v1")
        print(run.result(timeout=60))

An event loop runs in a thread of its own (anyio's blocking portal); every method of ``runtime.Client`` and ``runtime.RunHandle`` is here
under the same name, blocks, and returns what the async one would, with handles that block as well.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from runtime.client.client import Client as AsyncClient
from runtime.client.client import StepHandle as AsyncStepHandle
from runtime.client.handle import RunHandle as AsyncRunHandle


class _Blocking:
    """Calls the methods of an async object through a portal."""

    def __init__(self, portal: BlockingPortal, wrapped: Any) -> None:
        self._portal = portal
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name)
        return self._blocking(value) if callable(value) else value

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            async def run() -> Any:
                result = method(*args, **kwargs)
                return await result if inspect.isawaitable(result) else result

            result = self._portal.call(run)
            if isinstance(result, AsyncIterator):
                return self._iterate(result)
            return self._wrap(result)

        return call

    def _iterate(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        done = object()

        async def following() -> Any:
            return await anext(items, done)

        while (item := self._portal.call(following)) is not done:
            yield self._wrap(item)

    def _wrap(self, value: Any) -> Any:
        if isinstance(value, AsyncRunHandle | AsyncStepHandle):
            return _Blocking(self._portal, value)
        return value

    def __repr__(self) -> str:
        return repr(self._wrapped)


class Client(_Blocking):
    """``runtime.Client`` for code that is not async; takes the same arguments. Threads may share it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._make = functools.partial(AsyncClient, *args, **kwargs)

    def __enter__(self) -> Self:
        self._context = start_blocking_portal()
        portal = self._context.__enter__()
        try:

            async def open_client() -> AsyncClient:
                client = self._make()
                await client.open()
                return client

            super().__init__(portal, portal.call(open_client))
        except BaseException:
            self._context.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._portal.call(self._wrapped.close)
        finally:
            self._context.__exit__(kind, error, traceback)
