"""A rollback that failed is finished from the command line, with no worker but the command itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from acceptance.process import durable, reached, release, running, show

APP = """
import os
from pathlib import Path

from durable import Context, RetryPolicy, step, workflow

ONCE = RetryPolicy(max_attempts=1)


@step(retry=ONCE)
async def undo(name: str) -> None:
    if name == "b" and not Path("mended").exists():
        raise OSError("the service is down")
    with Path("undone").open("a") as file:
        file.write(name)


@step(retry=ONCE)
def undo_slowly(name: str) -> None:
    if Path("mended").exists():
        with open("pipe") as pipe:
            pipe.read()
    else:
        raise OSError("the service is down")
    with Path("undone").open("a") as file:
        file.write(name)


@step(compensate=undo)
async def do(name: str) -> str:
    return name


@step(compensate=undo_slowly)
async def do_slowly(name: str) -> str:
    return name


@step
async def fail() -> None:
    raise ValueError("no")


@workflow
async def fragile(ctx: Context) -> None:
    await ctx.step(do, "a")
    await ctx.step(do, "b")
    await ctx.step(do, "c")
    await ctx.step(fail)


@workflow
async def slow(ctx: Context) -> None:
    await ctx.step(do, "a")
    await ctx.step(do_slowly, "s")
    await ctx.step(fail)


@workflow
async def fine(ctx: Context) -> None: ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def undone(folder: Path) -> str:
    return (folder / "undone").read_text()


def test_rollback_that_failed_is_finished_by_the_command_that_is_told(folder: Path) -> None:
    ran = durable(folder, "run", "app.py:fragile", "--id", "f1")
    assert ran.returncode == 1
    assert "its rollback failed; mend it and go on: durable rollback f1 app.py:fragile" in ran.stderr
    assert undone(folder) == "c"
    again = durable(folder, "rollback", "f1", "app.py:fragile")
    assert again.returncode == 1
    assert "failed again" in again.stderr
    assert "durable rollback f1 app.py:fragile" in again.stderr
    (folder / "mended").touch()
    done = durable(folder, "rollback", "f1", "app.py:fragile")
    assert done.returncode == 0, done.stderr
    assert "f1 is rolled back" in done.stderr
    assert undone(folder) == "cba"
    run = show(folder, "f1")["run"]
    assert (run["status"], run["rollback"], run["worker"]) == ("failed", "completed", None)
    assert durable(folder, "rollback", "f1", "app.py:fragile").returncode == 6


def test_rollback_that_was_asked_for_without_a_worker_is_done_once(folder: Path) -> None:
    durable(folder, "run", "app.py:fragile", "--id", "f1")
    (folder / "mended").touch()
    for _ in range(2):
        asked = durable(folder, "rollback", "f1")
        assert asked.returncode == 0
        assert "durable rollback f1 TARGET" in asked.stdout
    done = durable(folder, "rollback", "f1", "app.py", "--json")
    assert done.returncode == 0, done.stderr
    assert '"rollback":"completed"' in done.stdout.splitlines()[-1]
    assert undone(folder) == "cba"


def test_rollback_whose_process_was_killed_goes_on(folder: Path) -> None:
    assert durable(folder, "run", "app.py:slow", "--id", "s1").returncode == 1
    (folder / "mended").touch()
    with running(folder, "rollback", "s1", "app.py") as process:
        with reached(folder / "pipe"):
            process.signal(signal.SIGKILL)
            process.end()
    assert not (folder / "undone").exists()
    with running(folder, "rollback", "s1", "app.py") as process:
        release(folder / "pipe")
        process.until("s1 is rolled back")
        assert process.end() == 0
    assert undone(folder) == "sa"


def test_interrupted_rollback_says_how_to_go_on(folder: Path) -> None:
    assert durable(folder, "run", "app.py:slow", "--id", "s1").returncode == 1
    (folder / "mended").touch()
    with running(folder, "rollback", "s1", "app.py", "--grace", "0s") as process:
        with reached(folder / "pipe"):
            process.signal(signal.SIGINT)
            process.until("go on: durable rollback s1 app.py")
        assert process.end() == 130


def test_rollback_needs_the_code_of_the_run_and_a_rollback_that_failed(folder: Path) -> None:
    durable(folder, "run", "app.py:fragile", "--id", "f1")
    ran = durable(folder, "rollback", "f1", "app.py:fine")
    assert ran.returncode == 2
    assert "'f1' is a run of workflow 'fragile', which app.py:fine has not" in ran.stderr
    durable(folder, "run", "app.py:fine", "--id", "ok")
    ran = durable(folder, "rollback", "ok", "app.py")
    assert ran.returncode == 6
    assert "only a rollback that failed" in ran.stderr
    assert durable(folder, "rollback", "nobody", "app.py").returncode == 3


def test_rollback_that_the_code_does_not_fit_says_so_and_goes_on_with_mended_code(folder: Path) -> None:
    assert durable(folder, "run", "app.py:fragile", "--id", "f1").returncode == 1
    app = folder / "app.py"
    app.write_text(APP.replace('await ctx.step(do, "a")', "await ctx.step(fail)"))
    for _ in range(2):
        ran = durable(folder, "rollback", "f1", "app.py")
        assert ran.returncode == 5, ran.stderr
        assert "the rollback of f1 cannot go on: [DUR1101]" in ran.stderr
        assert "mend it and go on: durable rollback f1 app.py" in ran.stderr
    told = durable(folder, "rollback", "f1", "app.py", "--json")
    assert '"event":"standstill"' in told.stdout.splitlines()[-1]
    assert show(folder, "f1")["run"]["status"] == "failed"
    app.write_text(APP)
    (folder / "mended").touch()
    assert durable(folder, "rollback", "f1", "app.py").returncode == 0
    assert undone(folder) == "cba"
