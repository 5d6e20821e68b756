"""What the tests of the command share: a call's outcome, and workflows to call it with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

APP = '''
"""Workflows for the tests of the command."""

import logging
from datetime import timedelta

from pydantic import BaseModel

from durable import Context, RetryPolicy, Signal, step, workflow

log = logging.getLogger("app")
go = Signal("go", int)


class Place(BaseModel):
    region: str
    size: int = 3


@step
async def greet(name: str) -> str:
    log.info("greeting %s", name)
    return f"Hello, {name}!"


@step(retry=RetryPolicy(max_attempts=2, initial_interval=0.001))
def pay(amount: int) -> int:
    raise ValueError("card declined")


@workflow
async def hello(ctx: Context, name: str = "world", times: int = 1) -> str:
    ctx.log.info("saying hello")
    return await ctx.step(greet, name) * times


@workflow
async def order(ctx: Context, amount: int) -> int:
    return await ctx.step(pay, amount)


@workflow
async def deploy(ctx: Context, version: str) -> str:
    decision = await ctx.ask_approval(f"Deploy {version}?", key="go", context={"risk": "low"})
    place = await ctx.ask_user("Where?", Place, key="place")
    return f"{version} in {place.region} x{place.size}, {decision.by}: {decision.comment}"


@workflow(messages=[go])
async def waits(ctx: Context) -> int:
    return await ctx.wait_signal(go)


@workflow
async def parent(ctx: Context) -> str:
    return await ctx.child_workflow(deploy.options(id="the-child"), "v9")


@workflow
async def naps(ctx: Context) -> str:
    await ctx.sleep(timedelta(days=30))
    return "slept"
'''


@dataclass(frozen=True)
class Ran:
    """What became of one call."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Ran]


def forget(folder: Path) -> None:
    """Forget the modules that were loaded from a directory."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
