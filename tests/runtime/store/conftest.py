"""What tests of the SQLite store share."""

from collections.abc import AsyncIterator
from pathlib import Path

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
