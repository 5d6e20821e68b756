"""Whole processes: how soon the command answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from runtime.bench.measure import Row, median, seconds

ROUNDS = 5

_HELLO = """
from durable import Context, step, workflow

@step
async def greet(name: str) -> str:
    return f"Hello, {name}!"

@workflow
async def hello(ctx: Context, name: str = "world") -> str:
    return await ctx.step(greet, name)
"""


def measure_processes(folder: Path) -> Iterator[Row]:
    """Import, help and a hello workflow, each the median of five processes, less the start of Python itself for the import."""
    target = folder / "hello_bench.py"
    target.write_text(_HELLO)
    durable = [sys.executable, "-m", "runtime"]
    store = ["--store", f"sqlite:///{folder / 'hello.db'}"]
    bare = _time([sys.executable, "-c", "pass"])
    yield Row("import durable", _time([sys.executable, "-c", "import durable"]) - bare, "s", "0.12 s")
    yield Row("durable --help, whole process", _time([*durable, "--help"]), "s", "0.25 s")
    yield Row("durable run of hello, whole process", _time([*durable, "run", str(target), *store]), "s", "0.45 s")


def _time(command: list[str]) -> float:
    return median([seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(ROUNDS)])  # noqa: S603
