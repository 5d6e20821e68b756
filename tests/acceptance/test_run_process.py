"""``durable run`` as a process: killed, interrupted, resumed; among files that have our names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from acceptance.process import COMMAND, Process, durable, environment, release, running, runs, show

APP = '''
import os
from pathlib import Path

from durable import Context, Signal, step, workflow

go = Signal("go")


def note(text: str) -> None:
    with Path("effects").open("a") as file:
        file.write(text + "\\n")


@step
async def first() -> str:
    note("first")
    return "first"


@step
async def second() -> str:
    note("second")
    return "second"


@step
def blocks(name: str) -> str:
    """Says that it runs, then waits for the other end of a pipe."""
    print("blocks", flush=True)
    Path(name).read_text()
    note("released")
    return "released"


@workflow
async def two(ctx: Context) -> list[str]:
    one = await ctx.step(first)
    await ctx.wait_signal(go)
    return [one, await ctx.step(second)]


@workflow
async def blocked(ctx: Context) -> str:
    return await ctx.step(blocks, "pipe")


@workflow
async def crash(ctx: Context) -> list[str]:
    one = await ctx.step(first)
    await ctx.step(die_once)
    return [one, await ctx.step(second)]


@step
def die_once() -> None:
    marker = Path("died")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), 9)


@workflow
async def parent(ctx: Context) -> list[str]:
    return await ctx.child_workflow(two.options(id="child"))
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def effects(folder: Path) -> list[str]:
    return (folder / "effects").read_text().split()


@pytest.mark.parametrize("workflow", ["two", "parent"])
def test_killed_run_goes_on_with_the_same_command_and_its_id(folder: Path, workflow: str) -> None:
    command = ["run", f"app.py:{workflow}", "--id", "r1"]
    waiting = "child" if workflow == "parent" else "r1"
    with running(folder, *command) as process:
        process.until("run r1")
        while show(folder, waiting).get("run", {}).get("waiting_for") != "signal 'go'":
            assert process.child.poll() is None
        process.signal(signal.SIGKILL)
        assert process.end() == -signal.SIGKILL
    assert runs(folder)[waiting] == "waiting"
    assert "its worker is gone" in durable(folder, "list").stdout
    assert "(gone; it goes on with the next one)" in durable(folder, "show", waiting).stdout
    assert durable(folder, "signal", waiting, "go").returncode == 0
    done = durable(folder, *command)
    assert done.returncode == 0, done.stderr
    assert effects(folder) == ["first", "second"]


def test_run_whose_step_takes_the_process_down_goes_on(folder: Path) -> None:
    command = ["run", "app.py:crash", "--id", "r1"]
    assert durable(folder, *command).returncode == -signal.SIGKILL
    done = durable(folder, *command)
    assert done.returncode == 0, done.stderr
    assert effects(folder) == ["first", "second"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_lets_its_step_finish_and_exits_with_130(folder: Path, number: signal.Signals) -> None:
    os.mkfifo(folder / "pipe")
    with running(folder, "run", "app.py:blocked", "--id", "r1") as process:
        process.until("blocks")
        process.signal(number)
        process.until("go on: durable run app.py:blocked --id r1")
        release(folder / "pipe")
        assert process.end() == 130
    assert effects(folder) == ["released"]
    done = durable(folder, "run", "app.py:blocked", "--id", "r1")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "released")
    assert effects(folder) == ["released"]


def test_second_signal_ends_a_run_at_once_and_loses_nothing(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with running(folder, "run", "app.py:blocked", "--id", "r1", "--grace", "1h") as process:
        process.until("blocks")
        process.signal(signal.SIGINT)
        process.until("once more ends at once")
        process.signal(signal.SIGINT)
        assert process.end() == 130
    assert not (folder / "effects").exists()
    with running(folder, "run", "app.py:blocked", "--id", "r1") as process:
        process.until("blocks")
        release(folder / "pipe")
        assert process.end() == 0


def test_step_in_a_thread_does_not_hold_up_the_end(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with running(folder, "run", "app.py:blocked", "--id", "r1", "--grace", "10ms") as process:
        process.until("blocks")
        process.signal(signal.SIGTERM)
        assert process.end() == 130


def test_two_processes_may_run_one_id(folder: Path) -> None:
    with (
        running(folder, "run", "app.py:two", "--id", "r1") as one,
        running(folder, "run", "app.py:two", "--id", "r1") as two,
    ):
        one.until("run r1")
        two.until("run r1")
        assert durable(folder, "signal", "r1", "go").returncode == 0
        assert (one.end(), two.end()) == (0, 0)
    assert effects(folder) == ["first", "second"]


HELLO = """
    from durable import Context, step, workflow

    @step
    async def greet(name: str) -> str:
        return f"Hello, {name}!"

    @workflow
    async def hello(ctx: Context, name: str = "world") -> str:
        return await ctx.step(greet, name)
"""


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A directory with files that have the names of our packages and of what they use."""
    (tmp_path / "app.py").write_text(dedent(HELLO))
    for name in ("runtime", "durable"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong one')\n")
    return tmp_path


def test_command_works_beside_files_with_the_names_of_its_packages(crowded: Path) -> None:
    done = durable(crowded, "run", "app.py", "--id", "h1")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Hello, world!"), done.stderr
    assert runs(crowded) == {"h1": "completed"}
    assert durable(crowded, "run", "app:hello").returncode == 0
    with running(crowded, "worker", "app.py") as worker:
        worker.until("serves hello")
        worker.signal(signal.SIGTERM)
        assert worker.end() == 0


def test_module_form_works_beside_a_durable_py(crowded: Path) -> None:
    (crowded / "runtime.py").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "run", "app.py"], cwd=crowded, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Hello, world!"), done.stderr


def test_output_that_nobody_reads_any_more_is_no_fault(folder: Path) -> None:
    durable(folder, "start", "app.py:two", "--id", "r1")
    process = Process(folder, "history", "r1", "--json")
    assert process.child.stdout is not None
    process.child.stdout.close()
    assert process.child.wait(60) in (0, 1)


def test_full_disk_is_told_and_what_was_stored_stays(folder: Path) -> None:
    assert durable(folder, "start", "app.py:two", "--id", "before").returncode == 0
    limited = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)); os.execv(sys.argv[1], sys.argv[1:])"
    refused = subprocess.run(
        [sys.executable, "-c", limited, COMMAND, "start", "app.py:two", "--id", "after"],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 7, refused.stderr
    assert "DUR2002" in refused.stderr
    assert runs(folder) == {"before": "pending"}
