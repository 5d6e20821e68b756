"""A runtime on SQLite, with runs kept in memory and with runs evicted and replayed after every turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durable.workflow import WorkflowDefinition
from runtime import Client, Runtime
from semantics.clock import HeldClock

OpenRuntime = Callable[..., Runtime]


@pytest.fixture(params=[pytest.param(1000, id="kept"), pytest.param(0, id="evicted")])
def cache_size(request: pytest.FixtureRequest) -> int:
    """How many replayers a worker keeps; 0 replays every run for every turn."""
    return int(request.param)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An empty SQLite store of this test."""
    return f"sqlite:///{tmp_path / 'durable.db'}"


@pytest.fixture
def open_runtime(cache_size: int, url: str) -> OpenRuntime:
    """Makes a ``Runtime`` on the test's store: ``async with open_runtime(deploy) as rt``; again for a restart.

    Positional arguments are its workflows, keywords are those of ``Runtime``.
    """

    def make(*workflows: WorkflowDefinition[..., Any], **options: Any) -> Runtime:
        return Runtime(url, workflows=workflows, **{"cache_size": cache_size, **options})

    return make


@pytest.fixture
def open_client(url: str) -> Callable[..., Client]:
    """Makes a ``Client`` on the test's store, without any worker."""
    return lambda **options: Client(url, **options)


@pytest.fixture
def clock() -> HeldClock:
    """A clock that stands until it is moved."""
    return HeldClock()
