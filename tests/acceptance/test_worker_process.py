"""``durable worker`` as a process: it serves others, ends gracefully, starts again when the code changes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from textwrap import dedent

import pytest

from acceptance.process import durable, release, running, show

APP = """
import asyncio
from pathlib import Path

from pydantic import BaseModel

from durable import Context, Query, Signal, Update, step, workflow

go = Signal("go")
total = Query("total", int)
add = Update("add", int, returns=int)


@step
def blocks(name: str) -> str:
    print("blocks", flush=True)
    Path(name).read_text()
    return "released"


@step(queue="gpu")
async def train(size: int) -> str:
    return f"trained {size}"


@workflow(messages=[go, total, add])
async def basket(ctx: Context) -> int:
    items: list[int] = []

    @ctx.on(add)
    async def take(item: int) -> int:
        items.append(item)
        return len(items)

    @take.validator
    def check(item: int) -> None:
        if item < 0:
            raise ValueError("nothing to take")

    @ctx.on(total)
    def report() -> int:
        return sum(items)

    await ctx.wait_signal(go)
    return sum(items)


@workflow
async def blocked(ctx: Context) -> str:
    return await ctx.step(blocks, "pipe")


@workflow
async def training(ctx: Context) -> str:
    return await ctx.step(train, 3)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_worker_serves_what_others_start_and_talk_to(folder: Path) -> None:
    with running(folder, "worker", "app.py") as worker:
        worker.until("serves")
        assert durable(folder, "start", "basket", "--id", "b1").stdout == "b1\n"
        assert durable(folder, "update", "b1", "add", "3").stdout == "1\n"
        assert durable(folder, "update", "b1", "add", "4", "--update-id", "u1").stdout == "2\n"
        assert durable(folder, "update", "b1", "add", "4", "--update-id", "u1").stdout == "2\n"
        assert durable(folder, "query", "b1", "total", "--json").stdout == "7\n"
        refused = durable(folder, "update", "b1", "add", "--", "-1")
        assert refused.returncode != 0
        assert "nothing to take" in refused.stderr
        unknown = durable(folder, "query", "b1", "color")
        assert unknown.returncode == 3
        assert "total" in unknown.stderr
        assert durable(folder, "signal", "b1", "go").returncode == 0
        assert durable(folder, "start", "basket", "--id", "b1", "--wait").stdout.splitlines()[-1] == "7"
        worker.signal(signal.SIGTERM)
        assert worker.end() == 0
    assert "stopped" in worker.lines[-1]


def test_log_lines_are_json_where_there_is_no_terminal(folder: Path) -> None:
    with running(folder, "worker", "app.py") as worker:
        fields = json.loads(worker.until("serves"))
        assert fields["level"] == "info"
        assert fields["logger"] == "durable.worker"
        worker.signal(signal.SIGINT)
        assert worker.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_lets_steps_finish_and_their_results_are_kept(folder: Path, number: signal.Signals) -> None:
    os.mkfifo(folder / "pipe")
    with running(folder, "worker", "app.py") as worker:
        worker.until("serves")
        durable(folder, "start", "blocked", "--id", "b1")
        worker.until("blocks")
        worker.signal(number)
        assert "1 step may finish" in worker.until("stopping")
        release(folder / "pipe")
        assert worker.end() == 0
    step = next(entry for entry in show(folder, "b1")["timeline"] if entry["name"] == "blocks")
    assert (step["state"], step["result"], step["attempts"]) == ("done", "released", 1)


def test_second_signal_ends_the_worker_at_once_and_the_step_runs_again(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with running(folder, "worker", "app.py", "--grace", "1h") as worker:
        worker.until("serves")
        durable(folder, "start", "blocked", "--id", "b1")
        worker.until("blocks")
        worker.signal(signal.SIGTERM)
        worker.until("stopping")
        worker.signal(signal.SIGINT)
        assert worker.end() == 130
    with running(folder, "worker", "app.py") as worker:
        worker.until("blocks")
        release(folder / "pipe")
        assert durable(folder, "start", "blocked", "--id", "b1", "--wait").stdout.splitlines()[-1] == "released"


def test_step_goes_to_the_worker_of_its_queue(folder: Path) -> None:
    with (
        running(folder, "worker", "app.py") as general,
        running(folder, "worker", "app.py", "--queue", "gpu") as special,
    ):
        general.until("serves")
        assert "queues gpu" in special.until("serves")
        assert durable(folder, "start", "training", "--id", "t1", "--wait").stdout.splitlines()[-1] == "trained 3"
    workers = {attempt["actor"] for attempt in events(folder, "t1") if attempt["event"] == "StepCompleted"}
    assert len(workers) == 1


def events(folder: Path, run_id: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in durable(folder, "history", run_id, "--json").stdout.splitlines()]


def test_targets_and_queues_come_from_the_settings(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        dedent("""
        [tool.durable]
        targets = ["app.py"]
        queues = ["default", "gpu"]
        store = "sqlite:///data/runs.db"
        """)
    )
    with running(folder, "worker") as worker:
        line = worker.until("serves")
        assert "queues default, gpu" in line
        assert "data/runs.db" in line


def test_reload_starts_again_with_the_changed_code_and_mends_stuck_runs(folder: Path) -> None:
    text = dedent("""
        import time
        from durable import Context, step, workflow

        @step
        async def one() -> int:
            return {value}

        @workflow
        async def clock(ctx: Context) -> int:
            {line}
            return await ctx.step(one)
    """)
    file = folder / "clock.py"
    file.write_text(text.format(value=1, line="time.time()"))
    with running(folder, "worker", "clock.py", "--reload") as worker:
        worker.until("serves clock")
        durable(folder, "start", "clock", "--id", "c1")
        worker.until("is stuck")
        file.write_text("def broken(:\n")
        worker.until("clock.py changed")
        worker.until("started again when a file changes")
        file.write_text(text.format(value=2, line="pass"))
        worker.until("serves clock")
        assert durable(folder, "start", "clock", "--id", "c1", "--wait").stdout.splitlines()[-1] == "2"
        worker.signal(signal.SIGTERM)
        worker.until("stopped")
        assert worker.end() == 0


def test_worker_ends_with_its_supervisor(folder: Path) -> None:
    with running(folder, "worker", "app.py", "--reload") as worker:
        worker.until("serves")
        worker.signal(signal.SIGKILL)
        worker.until("stopped")
        assert worker.end() == -signal.SIGKILL
