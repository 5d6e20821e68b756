"""Waiting for what another thread or process does."""

from collections.abc import Callable

import anyio


async def until(predicate: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until the predicate holds; fail if it takes longer than a broken machine would."""
    with anyio.fail_after(seconds):
        while not predicate():
            await anyio.sleep(0.002)
