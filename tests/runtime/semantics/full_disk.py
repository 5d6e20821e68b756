"""A runtime in a process whose disk is full for a while: ``python -m semantics.full_disk URL CACHE_SIZE LEDGER``.

The disk is the kernel's limit for the size of files (RLIMIT_FSIZE): a write beyond it is cut short or fails, whoever
makes it and in whatever file, like one on a disk without room. The limit falls in the middle of a step, so the step's
completion is the first that does not fit.

It reads commands, a line each: ``start ID`` answers with ``acknowledged ID`` or ``refused ID``, ``room`` makes room again.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys

from durable import Context, step, workflow
from durable.errors import StoreUnavailableError
from runtime import Runtime
from runtime.store.sqlite import SqliteStore
from semantics.flows import note

STEPS = 6
FULL_AT = 3
LETTERS = 200_000
FULL_BYTES = 4096
"""What a file may still have: the ledger and the signs of life stay below it."""


def limit_files(size_bytes: int) -> None:
    """Let files of this process grow so far and no further."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


@step
async def write_page(ledger: str, number: int) -> str:
    note(ledger, f"page {number}")
    if number == FULL_AT:
        limit_files(FULL_BYTES)
    return str(number) * LETTERS


@workflow
async def writes_a_book(ctx: Context, ledger: str) -> int:
    return sum([len(await ctx.step(write_page, ledger, number)) for number in range(STEPS)])


@step
async def write_line(ledger: str, name: str) -> str:
    note(ledger, name)
    return name


@workflow
async def writes_a_line(ctx: Context, ledger: str) -> str:
    return await ctx.step(write_line, ledger, ctx.info.workflow_id)


WORKFLOWS = (writes_a_book, writes_a_line)


async def _start(rt: Runtime, name: str, ledger: str) -> None:
    definition = writes_a_book if name == "book" else writes_a_line
    try:
        await rt.start(definition.options(id=name), ledger)
    except StoreUnavailableError:
        print(f"refused {name}", flush=True)
    else:
        print(f"acknowledged {name}", flush=True)


async def _live(url: str, cache_size: int, ledger: str) -> None:
    store = SqliteStore(url.removeprefix("sqlite:///"), wait_seconds=0.05)
    async with Runtime(store, workflows=WORKFLOWS, cache_size=cache_size) as rt:
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            match line.split():
                case ["start", name]:
                    await _start(rt, name, ledger)
                case ["room"]:
                    limit_files(resource.RLIM_INFINITY)
                case ["result", name]:
                    print(f"result {await rt.get(name).result(timeout=30)}", flush=True)
    await store.close()


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    from semantics import full_disk  # under the name that the tests import it by

    asyncio.run(full_disk._live(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
