"""What tests of the SQLite store share."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

from runtime.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be."""
    return tmp_path / "durable.db"


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteStore]:
    """An open store without runs."""
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


async def until(predicate: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another thread or process does."""
    with anyio.fail_after(seconds):
        while not predicate():
            await anyio.sleep(0.002)
