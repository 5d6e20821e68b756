"""``durable run``: the id first, the outcome, the exit code, going on with what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import Cli
from runtime.client.client import Client

pytestmark = pytest.mark.usefixtures("app")

Write = Callable[[str, str], Path]


def test_run_prints_its_id_first_and_the_result_last(cli: Cli) -> None:
    ran = cli("run", "app.py:hello", "--input", "name=Ada", "--id", "h1")
    assert ran.code == 0
    assert ran.out.splitlines() == ["run h1", "Hello, Ada!"]


def test_run_makes_up_an_id_from_the_name_of_the_workflow(cli: Cli) -> None:
    assert cli("run", "app.py:hello").out.startswith("run hello-")


def test_run_with_json_prints_events(cli: Cli) -> None:
    ran = cli("run", "app.py:hello", "--id", "h1", "--json")
    assert ran.events[0]["event"] == "started"
    assert ran.events[0]["workflow_id"] == "h1"
    assert {"event": "entry", "kind": "step", "name": "greet"}.items() <= ran.events[1].items()
    assert ran.events[-1] == {"event": "ended", "workflow_id": "h1", "status": "completed", "result": "Hello, world!"}


def test_run_tells_progress_as_log_lines_where_there_is_no_terminal(cli: Cli) -> None:
    ran = cli("run", "app.py:hello", "--log-format", "human")
    assert "step greet" in ran.err
    assert "greeting world" in ran.err
    assert "saying hello" in ran.err


@pytest.mark.parametrize(
    "given",
    [
        ["--input", "name=1.0", "--input", "times=2"],
        ["--input", '{"name": "1.0", "times": 2}'],
        ["--input", '["1.0", 2]'],
        ["-i", '["1.0"]', "-i", "times=2"],
        ["-i", "@input.json"],
    ],
)
def test_input_may_be_pairs_an_object_an_array_or_a_file(cli: Cli, folder: Path, given: list[str]) -> None:
    (folder / "input.json").write_text('{"name": "1.0", "times": 2}')
    assert cli("run", "app.py:hello", *given).out.splitlines()[-1] == "Hello, 1.0!Hello, 1.0!"


def test_failed_run_shows_the_users_frame_first_and_exits_with_1(cli: Cli) -> None:
    ran = cli("run", "app.py:order", "-i", "amount=3", "--id", "o1")
    assert ran.code == 1
    lines = ran.err.splitlines()
    failed = next(index for index, line in enumerate(lines) if line.startswith("[DUR4051]"))
    assert "card declined" in lines[failed]
    assert lines[failed + 1].startswith("  at app.py:")
    assert "in pay" in lines[failed + 1]
    assert "durable retry o1" in lines[-1]


def test_run_that_waits_for_a_person_says_how_to_answer_and_exits_with_4(cli: Cli) -> None:
    ran = cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1")
    assert ran.code == 4
    assert "waiting for approval 'go': Deploy v1?" in ran.out
    assert "durable approve d1 --key go\n" in ran.out
    assert ran.out.splitlines()[-1] == "then go on: durable run app.py:deploy --id d1"


def test_run_goes_on_after_each_answer(cli: Cli) -> None:
    cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1")
    assert cli("approve", "d1", "--by", "alice", "--comment", "fine").code == 0
    ran = cli("run", "app.py:deploy", "--id", "d1", "--json")
    assert ran.code == 4
    assert ran.events[-1]["questions"][0]["key"] == "place"
    assert cli("answer", "d1", '{"region": "eu"}').code == 0
    ran = cli("run", "app.py:deploy", "--id", "d1")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "v1 in eu x3, user:alice: fine")


def test_question_of_a_child_is_told_by_the_parents_run(cli: Cli) -> None:
    ran = cli("run", "app.py:parent", "--id", "p1")
    assert ran.code == 4
    assert "durable approve the-child --key go" in ran.out


def test_rejected_approval_fails_the_run(cli: Cli) -> None:
    cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1")
    cli("reject", "d1", "--comment", "not today")
    ran = cli("run", "app.py:deploy", "--id", "d1")
    assert ran.code == 1
    assert "not today" in ran.err


def test_run_of_an_ended_id_shows_its_outcome_again(cli: Cli) -> None:
    cli("run", "app.py:hello", "-i", "name=Ada", "--id", "h1")
    for given in ([], ["-i", "name=Ada"]):
        assert cli("run", "app.py:hello", "--id", "h1", *given).out.splitlines()[-1] == "Hello, Ada!"


def test_run_with_another_input_for_a_taken_id_is_refused(cli: Cli) -> None:
    cli("run", "app.py:hello", "-i", "name=Ada", "--id", "h1")
    ran = cli("run", "app.py:hello", "-i", "name=Bob", "--id", "h1")
    assert ran.code == 6
    assert "DUR3002" in ran.err


def test_run_that_goes_on_is_of_the_workflow_that_it_records(cli: Cli) -> None:
    cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1")
    assert cli("run", "app.py", "--id", "d1").code == 4
    for flags in (["--id", "new"], ["--id", "d1", "--on-conflict", "replace"], []):
        ran = cli("run", "app.py", *flags)
        assert ran.code == 2
        assert "app.py has several workflows; name one: app.py:" in ran.err


def test_run_of_another_workflows_id_is_refused(cli: Cli) -> None:
    cli("run", "app.py:hello", "--id", "x")
    ran = cli("run", "app.py:deploy", "--id", "x")
    assert ran.code == 6
    assert "workflow 'hello'" in ran.err


def test_on_conflict_chooses_what_happens_to_a_taken_id(cli: Cli) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    assert cli("run", "app.py:hello", "--id", "h1", "--on-conflict", "fail").code == 6
    assert cli("run", "app.py:hello", "--id", "h1", "-i", "name=B", "--on-conflict", "replace").code == 0


def test_run_serves_only_its_own_tree(cli: Cli) -> None:
    assert cli("start", "app.py:hello", "--id", "yesterday").code == 0
    assert cli("run", "app.py:hello", "--id", "today").code == 0
    assert cli("show", "yesterday", "--json").data["run"]["status"] == "pending"


def test_stuck_run_exits_with_5_and_goes_on_with_mended_code(cli: Cli, write: Write) -> None:
    text = """
        import time
        from durable import Context, step, workflow

        @step
        async def one() -> int:
            return 1

        @workflow
        async def clock(ctx: Context) -> int:
            first = await ctx.step(one)
            {line}
            return first
    """
    write("broken.py", text.format(line="time.time()"))
    for _ in range(2):
        ran = cli("run", "broken.py", "--id", "c1")
        assert ran.code == 5
        assert "the run is stuck" in ran.err
        assert "broken.py:12" in ran.err
    write("broken.py", text.format(line="pass"))
    ran = cli("run", "broken.py", "--id", "c1")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "1")


def test_paused_run_exits_with_4_and_says_how_to_resume(cli: Cli, folder: Path) -> None:
    cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1")
    cli("pause", "d1")
    ran = cli("run", "app.py:deploy", "--id", "d1")
    assert ran.code == 4
    assert "durable resume d1" in ran.out


def test_run_names_the_store_in_its_commands_only_if_it_must(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1", "--store", "sqlite:///other.db")
    assert "durable approve d1 --key go --store sqlite:///other.db" in ran.out
    monkeypatch.setenv("DURABLE_STORE", "sqlite:///other.db")
    assert "--store" not in cli("run", "app.py:deploy", "--id", "d1").out


def test_retried_run_goes_on_under_its_id(cli: Cli, write: Write) -> None:
    text = """
        from durable import Context, step, workflow

        @step
        async def one() -> int:
            {line}

        @workflow
        async def work(ctx: Context) -> int:
            return await ctx.step(one)
    """
    write("mended.py", text.format(line="raise ValueError('no')"))
    assert cli("run", "mended.py", "--id", "m1").code == 1
    write("mended.py", text.format(line="return 7"))
    assert cli("retry", "m1").code == 0
    assert cli("run", "mended.py", "--id", "m1").out.splitlines()[-1] == "7"


def test_store_is_the_nearest_parents(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert [run["workflow_id"] for run in cli("list", "--json").data["runs"]] == ["h1"]
    assert not (inner / ".durable").exists()


def test_principal_of_a_run_is_recorded(cli: Cli, folder: Path) -> None:
    cli("run", "app.py:hello", "--id", "h1", "--by", "alice")

    async def actor() -> str:
        async with Client(f"sqlite:///{folder}/.durable/durable.db") as client:
            return (await client.get("h1").describe()).actor

    assert asyncio.run(actor()) == "user:alice"
