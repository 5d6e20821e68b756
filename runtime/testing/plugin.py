"""The pytest plugin: ``durable_runtime``. Found by its entry point; imports are late, as in ``durable.testing.plugin``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runtime.testing.environment import RuntimeEnvironment


@pytest.fixture
async def durable_runtime(anyio_backend: object) -> AsyncIterator[RuntimeEnvironment]:  # noqa: ARG001 - anyio's plugin runs it
    """A worker and a client on a temporary SQLite file, in virtual time; an async test that takes it needs no mark."""
    from runtime.testing.environment import RuntimeEnvironment

    async with RuntimeEnvironment() as environment:
        yield environment
