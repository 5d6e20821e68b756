"""Fixtures shared by every test."""

import pytest
from hypothesis import settings

settings.register_profile("durable", deadline=None)  # machines are shared: no test measures time
settings.load_profile("durable")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
