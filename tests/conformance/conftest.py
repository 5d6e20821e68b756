"""The stores under test. A store passes the suite by having a factory here."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from runtime.store.memory import MemoryStore
from runtime.store.protocol import Store
from runtime.store.sqlite import SqliteStore


def _memory(directory: Path) -> Callable[[], Store]:
    shared = MemoryStore()
    return lambda: shared


def _sqlite(directory: Path) -> Callable[[], Store]:
    return lambda: SqliteStore(directory / "durable.db")


FACTORIES = {"memory": _memory, "sqlite": _sqlite}


@pytest.fixture(params=FACTORIES)
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes one more client of the same, at first empty, store; not opened."""
    return FACTORIES[request.param](tmp_path)


@pytest.fixture
async def store(connect: Callable[[], Store]) -> AsyncIterator[Store]:
    """An open store without runs."""
    client = connect()
    await client.open()
    yield client
    await client.close()
