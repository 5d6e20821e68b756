"""Two stores that are asked the same and must answer the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from conformance.build import worker_row
from durable.errors import CallerError
from runtime.store.protocol import Store
from runtime.store.row import InboxRow


class Pair:
    """A model and a store under test on one event loop, with one worker that lives.

    Args:
        model: what the other is compared with.
        tested: the other.
        worker_id: who lives; every other owner is dead.
    """

    def __init__(self, model: Store, tested: Store, worker_id: str) -> None:
        self._runner = asyncio.Runner()
        self.model = model
        self.tested = tested
        self._leases = []
        for store in (self.model, self.tested):
            self._run(store.open())
            self._leases.append(self._run(store.join(worker_row(worker_id), 1000)))

    def close(self) -> None:
        for lease in self._leases:
            self._run(lease.end())
        self._run(self.model.close())
        self._run(self.tested.close())
        self._runner.close()

    def _run(self, awaitable: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await awaitable

        return self._runner.run(wait())

    def ask_model(self, ask: Callable[[Store], Awaitable[Any]]) -> Any:
        return self._run(ask(self.model))

    def agree(self, ask: Callable[[Store], Awaitable[Any]]) -> Any:
        """What the model returns or raises, which the tested store must as well."""
        expected, found = (self._run(_answer(ask, store)) for store in (self.model, self.tested))
        assert found == expected
        return expected


async def _answer(ask: Callable[[Store], Awaitable[Any]], store: Store) -> Any:
    try:
        return _without_row_ids(await ask(store))
    except CallerError as error:
        return type(error), error.data.get("status"), error.data.get("run_id")


def _without_row_ids(value: Any) -> Any:
    match value:
        case InboxRow():
            return replace(value, row_id=0)
        case tuple() if type(value) is not tuple:
            return tuple(_without_row_ids(part) for part in value)
        case list() | tuple():
            return [_without_row_ids(part) for part in value]
        case Exception():
            return type(value)
        case _:
            return value
