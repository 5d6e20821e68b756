"""Steps that take their worker down, and a worker to be taken down: ``python -m semantics.dying URL CACHE_SIZE``."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from durable import Context, RetryPolicy, StepLostError, heartbeat, step, step_info, workflow
from runtime import Worker


def note(ledger: str, line: str) -> int:
    """Append a line; how many there are now."""
    with Path(ledger).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    return len(Path(ledger).read_text(encoding="utf-8").splitlines())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@step(retry=RetryPolicy(max_attempts=2, initial_interval=0.01))
async def kills(ledger: str, deaths: int) -> int:
    """Kills its worker so many times, then fails, then succeeds."""
    begun = note(ledger, f"attempt {step_info().attempt} {step_info().idempotency_key}")
    if begun <= deaths:
        die()
    if begun == deaths + 1:
        raise ConnectionError("a failure")
    return step_info().attempt


@workflow
async def survives(ctx: Context, ledger: str, deaths: int) -> int:
    return await ctx.step(kills, ledger, deaths)


@workflow
async def gives_up(ctx: Context, ledger: str) -> str:
    try:
        await ctx.step(kills, ledger, 99)
    except StepLostError as error:
        return error.message
    return "?"


@step(retry=RetryPolicy(max_attempts=3, initial_interval=0.01))
async def reports_and_dies(ledger: str) -> list[object]:
    begun = note(ledger, "begun")
    if begun == 1:
        heartbeat({"done": 1})
        raise ConnectionError("a failure")
    if begun == 2:
        heartbeat({"done": 2})
        heartbeat({"done": 3})
        print("reported", flush=True)
        await asyncio.Event().wait()
    return [step_info().attempt, step_info().heartbeat_details]


@workflow
async def resumes_from_report(ctx: Context, ledger: str) -> list[object]:
    return await ctx.step(reports_and_dies, ledger)


@step
async def undo_through_death(ledger: str, name: str) -> None:
    if note(ledger, f"undo {name}") == 4:
        die()


@step
async def do(ledger: str, name: str) -> None:
    note(ledger, f"do {name}")


@workflow
async def undoes_through_death(ctx: Context, ledger: str) -> None:
    for name in ("a", "b"):
        ctx.compensate(undo_through_death, ledger, name)
        await ctx.step(do, ledger, name)
    raise ValueError("undo it")


WORKFLOWS = (survives, gives_up, resumes_from_report, undoes_through_death)


def start_worker(url: str, cache_size: int) -> subprocess.Popen[str]:
    """A worker in a process of its own. Whoever starts it waits for its end."""
    return subprocess.Popen(
        [sys.executable, "-m", "semantics.dying", url, str(cache_size)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )


async def _serve(url: str, cache_size: int) -> None:
    async with Worker(url, workflows=WORKFLOWS, cache_size=cache_size):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
