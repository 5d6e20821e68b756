"""Steps in processes of their own: what they log and know, how they end, and what is left of them."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durable import Context, Signal, StepError, step, step_info, workflow
from durable.errors import RunCancelledError, RunFailedError
from runtime import Runtime

pytestmark = pytest.mark.anyio

log = logging.getLogger("shop.press")
go = Signal("go", int)


@step(isolation="process")
def presses(label: str) -> list[Any]:
    log.debug("not shown")
    log.info("pressing %s", label, extra={"plate": 7})
    try:
        raise ValueError("jammed")
    except ValueError:
        log.exception("once more")
    print("heard by nobody")
    for number in (signal.SIGINT, signal.SIGTERM):  # as a terminal and systemd send them to every process
        os.kill(os.getpid(), number)
    info = step_info()
    return [os.getpid(), info.step, info.attempt, info.started_at_us > 0]


@step(isolation="process")
async def waits(label: str) -> str:
    await asyncio.sleep(0)
    log.warning("async %s", label)
    return label


@step(isolation="process")
def dies(how: str) -> None:
    log.warning("about to die")
    if how == "exit":
        os._exit(9)
    if how == "sys.exit":
        sys.exit(3)
    os.kill(os.getpid(), getattr(signal, how))


def reads_line(path: str) -> str:
    """Wait until somebody writes into a named pipe."""
    with Path(path).open(encoding="utf-8") as pipe:
        return pipe.readline()


@step(isolation="process")
def leaves_a_thread_behind(path: str) -> None:
    def work() -> None:
        reads_line(path)
        log.warning("from the step before")
        Path(path).write_text("said\n", encoding="utf-8")

    threading.Thread(target=work, daemon=True).start()


@step(isolation="process")
def speaks() -> None:
    log.warning("from this step")


@step(isolation="process")
def stays(path: str) -> None:
    Path(path).write_text(f"{os.getpid()}\n", encoding="utf-8")
    signal.pause()


@step(isolation="process")
def leaves_a_fork_behind(path: str, how: str) -> None:
    if (child := os.fork()) == 0:
        signal.pause()
        os._exit(0)
    Path(path).write_text(f"{child}\n", encoding="utf-8")
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


ASKS_FOR_SIGNALS = """
from signal import *
print(getsignal(SIGINT) is default_int_handler, getsignal(SIGTERM) == SIG_DFL)
"""


@step(isolation="process")
def ends_what_it_starts() -> list[Any]:
    program = subprocess.run([sys.executable, "-c", ASKS_FOR_SIGNALS], capture_output=True, check=True, text=True)
    fork = multiprocessing.get_context("fork").Process(target=signal.pause)
    fork.start()
    fork.terminate()
    fork.join()
    return [program.stdout.strip(), fork.exitcode]


@step(isolation="process")
def echoes(text: str) -> str:
    return text


@workflow
async def prints(ctx: Context) -> list[Any]:
    return [*await ctx.step(presses, "a"), await ctx.step(waits, "b")]


@workflow
async def survives(ctx: Context, how: str) -> str:
    try:
        await ctx.step(dies, how)
    except StepError as error:
        return error.message
    return "?"


@workflow
async def dies_of_it(ctx: Context) -> None:
    await ctx.step(dies, "exit")


@workflow
async def holds(ctx: Context, path: str) -> None:
    await ctx.step(stays, path)


@workflow
async def forks(ctx: Context, path: str, how: str) -> str:
    try:
        await ctx.step(leaves_a_fork_behind, path, how)
    except StepError as error:
        return error.message
    return "?"


@workflow
async def ends_others(ctx: Context) -> list[Any]:
    return await ctx.step(ends_what_it_starts)


@workflow
async def repeats(ctx: Context, text: str) -> str:
    return await ctx.step(echoes, text)


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    yield root
    root.setLevel(level)


OpenRuntime = Callable[..., Runtime]


@pytest.fixture(params=[pytest.param(1000, id="kept"), pytest.param(0, id="evicted")])
def open_runtime(request: pytest.FixtureRequest, tmp_path: Path) -> OpenRuntime:
    """Makes a ``Runtime`` on the test's store."""
    url = f"sqlite:///{tmp_path / 'durable.db'}"
    return lambda *workflows: Runtime(url, workflows=workflows, cache_size=request.param, grace_seconds=0)


async def kept_lines(runtime: Runtime, run: Any) -> list[tuple[str, str, str]]:
    """Level, source and first line of what is kept with a run, once its worker has stopped."""
    await runtime.worker.stop()
    await runtime.store.open()
    return [(line.level, line.source, line.message.splitlines()[0]) for line in await run.logs()]


async def test_lines_of_a_process_are_kept_with_the_run(open_runtime, caplog):
    async with open_runtime(prints) as runtime:
        run = await runtime.start(prints)
        pid, *rest = await run.result(timeout=60)
        lines = await kept_lines(runtime, run)
        text = "\n".join(line.message for line in await run.logs())
    assert pid != os.getpid()
    assert rest == ["presses", 1, True, "b"]
    assert lines == [
        ("INFO", "presses", "pressing a"),
        ("ERROR", "presses", "once more"),
        ("WARNING", "waits", "async b"),
    ]
    assert "ValueError: jammed" in text
    (shown,) = [record for record in caplog.records if record.getMessage() == "pressing a"]
    assert (shown.name, shown.levelname, shown.process, vars(shown)["plate"]) == ("shop.press", "INFO", pid, 7)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("exit", "died with exit code 9"), ("sys.exit", "died with exit code 3"), ("SIGKILL", "was killed by SIGKILL"),
        ("SIGABRT", "was killed by SIGABRT"),
    ],
)  # fmt: skip
async def test_a_process_that_dies_says_how_in_one_line_and_what_it_did_before(open_runtime, how, reason):
    """Semantics 29: a crashing process fails the attempt, with its exit code or signal."""
    async with open_runtime(survives) as runtime:
        run = await runtime.start(survives, how)
        assert await run.result(timeout=60) == f"the process of step 'dies' {reason}"
        assert await kept_lines(runtime, run) == [("WARNING", "dies", "about to die")]


async def test_the_record_of_a_death_has_no_frames_of_the_worker(open_runtime):
    async with open_runtime(dies_of_it) as runtime:
        run = await runtime.start(dies_of_it)
        with pytest.raises(RunFailedError):
            await run.result(timeout=60)
        assert "runtime" not in "".join(str(event.payload) for event in await run.history() if event.command)


@workflow(messages=[go])
async def speaks_late(ctx: Context, path: str) -> None:
    await ctx.step(leaves_a_thread_behind, path)
    await ctx.wait_signal(go)
    await ctx.step(speaks)


async def test_what_a_thread_says_that_a_step_left_behind_is_not_the_next_steps_line(open_runtime, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with open_runtime(speaks_late) as runtime:
        run = await runtime.start(speaks_late, str(pipe))
        await run.until_waiting("go", timeout=60)
        await asyncio.to_thread(pipe.write_text, "speak\n", encoding="utf-8")
        assert await asyncio.to_thread(reads_line, str(pipe)) == "said\n"
        await run.signal(go, 1)
        await run.result(timeout=60)
        assert await kept_lines(runtime, run) == [("WARNING", "speaks", "from this step")]


async def test_a_cancelled_step_ends_its_process(open_runtime, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with open_runtime(holds) as runtime:
        run = await runtime.start(holds, str(pipe))
        pid = int(await asyncio.to_thread(reads_line, str(pipe)))
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await run.result(timeout=60)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_texts_of_any_length_cross_the_border(open_runtime):
    text = "ü" * 3_000_000
    async with open_runtime(repeats) as runtime:
        assert await (await runtime.start(repeats, text)).result(timeout=60) == text


async def test_what_a_step_starts_can_be_ended(open_runtime):
    """Its process leaves the signals that stop a worker to the worker; its programs and forks do not."""
    async with open_runtime(ends_others) as runtime:
        run = await runtime.start(ends_others)
        assert await run.result(timeout=60) == ["True True", -signal.SIGTERM]


async def test_the_death_of_a_process_is_noticed_though_its_fork_lives_on(open_runtime, tmp_path):
    """Semantics 29: the fork holds the pipe to the worker open, which ends with the process all the same."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with open_runtime(forks) as runtime:
        run = await runtime.start(forks, str(pipe), "dies")
        fork = int(await asyncio.to_thread(reads_line, str(pipe)))
        try:
            message = await run.result(timeout=20)
        finally:
            os.kill(fork, signal.SIGKILL)
        assert message == "the process of step 'leaves_a_fork_behind' was killed by SIGKILL"


async def test_a_process_is_given_back_though_its_fork_lives_on(open_runtime, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    before = asyncio.all_tasks()
    async with open_runtime(forks) as runtime:
        await runtime.start(forks, str(pipe), "stays")
        fork = int(await asyncio.to_thread(reads_line, str(pipe)))
    os.kill(fork, signal.SIGKILL)
    assert asyncio.all_tasks() == before
    gc.collect()  # an open transport says so


async def test_loggers_may_be_added_while_a_step_begins(open_runtime, monkeypatch):
    class Growing(logging.Logger):
        """Stands for another thread."""

        @property
        def level(self) -> int:
            loggers[f"shop.{len(loggers)}"] = logging.getLogger("shop")
            return logging.INFO

        @level.setter
        def level(self, level: int) -> None:
            pass

    loggers = {**logging.root.manager.loggerDict, "shop.grows": Growing("shop.grows")}
    monkeypatch.setattr(logging.root.manager, "loggerDict", loggers)
    async with open_runtime(repeats) as runtime:
        assert await (await runtime.start(repeats, "a")).result(timeout=60) == "a"


ORPHAN = """
import asyncio, os, sys
from durable import Context, step, workflow
from runtime import Runtime

@step(isolation="process")
def stays() -> None:
    import threading
    print(os.getpid(), file=sys.stderr, flush=True)
    threading.Event().wait()

@workflow
async def holds(ctx: Context) -> None:
    await ctx.step(stays)

async def main() -> None:
    async with Runtime("memory://", workflows=[holds]) as runtime:
        await (await runtime.start(holds)).result()

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_process_does_not_outlive_its_worker(tmp_path):
    """Semantics 43: a step that went on after kill -9 of its worker would run beside itself."""
    (tmp_path / "orphan.py").write_text(ORPHAN)
    with subprocess.Popen([sys.executable, "orphan.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as worker:
        try:
            assert int(worker.stderr.readline())
        finally:
            worker.kill()
        assert worker.stderr.read() == "", "it ends when nobody has it open any more, the step's process neither"
