"""``durable debug``: pdb where a run stood, driven from standard input; nothing is written."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import Cli, Ran, forget
from runtime import Runtime
from runtime.target import load_file, workflows_of

SOURCE = """
import asyncio
from durable import Context, Signal, step, workflow

@step
async def double(n: int) -> int:
    return 2 * n

async def helper(ctx: Context, n: int) -> int:
    found = await ctx.step(double, n)
    return await ctx.wait_signal(Signal("go", int))

@workflow
async def flow(ctx: Context, n: int) -> int:
    total = n + 1
    other = asyncio.create_task(helper(ctx, 50), name="other")
    return await helper(ctx, total)
"""

Debug = Callable[..., Ran]


@pytest.fixture
def debug(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Debug:
    (folder / "flow.py").write_text(SOURCE)
    cli("run", "flow.py", "-i", "n=1", "--id", "f1", "--no-ask")

    def call(commands: str, *args: str) -> Ran:
        monkeypatch.setattr(sys, "stdin", io.StringIO(commands))
        return cli("debug", *args)

    return call


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


@pytest.fixture
def cli(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A run that waits for a signal never ends by itself: it is started, and served up to where it waits."""

    def call(*args: str) -> Ran:
        if args[0] != "run":
            return cli(*args)
        ran = cli("start", args[1], *[arg for arg in args[2:] if arg != "--no-ask"])

        async def serve() -> None:
            async with Runtime(workflows=list(workflows_of(load_file(args[1])).values())) as rt:
                await rt.get("f1").until_waiting("signal", timeout=30)

        asyncio.run(serve())
        return ran

    return call


def test_locals_and_the_way_up(debug: Debug) -> None:
    ran = debug("p found\nup\np total\n", "f1", "flow.py")
    assert ran.code == 0
    assert "flow.py(11)helper()" in ran.out
    assert "(Pdb) 4\n" in ran.out
    assert "flow.py(17)flow()" in ran.out
    assert "(Pdb) 2\n" in ran.out
    assert "after event 5, it waits for signal 'go'\n2 tasks; see: tasks\n" in ran.err


def test_other_tasks_can_be_visited(debug: Debug) -> None:
    ran = debug("tasks\ntask other\np n\ntask nobody\n", "f1", "flow.py")
    assert "other: " in ran.out
    assert "(Pdb) 50\n" in ran.out
    assert "*** no task is called 'nobody'; see: tasks" in ran.out


def test_an_event_in_the_middle(debug: Debug) -> None:
    ran = debug("p 'found' in locals()\n", "f1", "flow.py", "--at", "2")
    assert "flow.py(10)helper()" in ran.out
    assert "(Pdb) False\n" in ran.out
    assert "it waits for step 'double', step 'double'" in ran.err
    assert debug("p 1\n", "f1", "flow.py", "--at", "99").code == 2


def test_nothing_is_written(debug: Debug, folder: Path) -> None:
    store = folder / ".durable" / "durable.db"
    before = sha256(store.read_bytes()).digest()
    ran = debug("p ctx.publish('a', 1)\n", "f1", "flow.py")
    assert "ReadOnlyError" in ran.out
    assert sha256(store.read_bytes()).digest() == before


def test_exported_file_needs_no_store_and_no_id(debug: Debug, cli: Cli, folder: Path) -> None:
    cli("export", "f1", "-o", "run.json")
    assert "(Pdb) 4\n" in debug("p found\n", "--file", "run.json", "flow.py").out
    assert "(Pdb) 4\n" in debug("p found\n", "f1", "flow.py", "--file", "run.json").out
    ran = debug("p found\n", "other", "flow.py", "--file", "run.json")
    assert (ran.code, "run.json (it has f1)" in ran.err) == (3, True)


def test_breakage_is_told_and_opened(debug: Debug, folder: Path) -> None:
    forget(folder)
    (folder / "flow.py").write_text(SOURCE.replace("found = await ctx.step(double, n)", "await ctx.sleep(n)"))
    ran = debug("p n\n", "f1", "flow.py")
    assert ran.code == 0
    assert "recorded:  step('double')" in ran.err
    assert "flow.py(10)helper()" in ran.out


def test_without_a_terminal_and_without_commands_it_says_what_to_do(debug: Debug) -> None:
    ran = debug("", "f1", "flow.py")
    assert (ran.code, ran.out) == (2, "")
    assert "needs a terminal, or commands of pdb on standard input" in ran.err


def test_json_needs_neither(debug: Debug) -> None:
    data = debug("", "f1", "flow.py", "--json").data
    assert data["breakage"] is None
    assert [task["task"] for task in data["tasks"]] == ["flow", "other"]
    assert [frame["function"] for frame in data["tasks"][0]["frames"]] == ["flow", "helper"]
    assert data["tasks"][0]["frames"][1]["locals"]["found"] == "4"


@pytest.mark.parametrize("words", [["f1"], ["f1", "flow.py", "more"]])
def test_wrong_number_of_words(debug: Debug, words: list[str]) -> None:
    assert debug("p 1\n", *words).code == 2


def test_run_that_has_not_begun_is_told(debug: Debug, cli: Cli) -> None:
    cli("start", "flow.py", "-i", "n=1", "--id", "f2", "--delay", "1h")
    ran = debug("p 1\n", "f2", "flow.py")
    assert (ran.code, "has not begun" in ran.err) == (2, True)


def test_unknown_run_is_told(debug: Debug) -> None:
    assert debug("p 1\n", "nobody", "flow.py").code == 3
