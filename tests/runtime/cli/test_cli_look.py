"""Looking at runs: lists, timelines, histories, logs, the inbox; stores that cannot be opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import Cli
from durable.handle import RunStatus
from runtime.cli.listing import Page, _about, _overlap
from runtime.client.description import RunSummary
from runtime.store.row import LogRow

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def ended(cli: Cli, app: Path) -> None:
    """A run that completed, one that failed, one that waits."""
    cli("run", "app.py:hello", "-i", "name=Ada", "--id", "h1")
    cli("run", "app.py:order", "-i", "amount=3", "--id", "o1", "--by", "bob")
    cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1")


@pytest.mark.parametrize(("command", "what"), [("list", "runs"), ("inbox", "open questions")])
def test_empty_list_says_which_store_was_searched(cli: Cli, folder: Path, command: str, what: str) -> None:
    ran = cli(command)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"no {what} in sqlite:///{folder}/.durable/durable.db (there is no such file yet)\n"
    assert cli(command, "--json").data["store"] == f"sqlite:///{folder}/.durable/durable.db"


def test_looking_makes_no_store(cli: Cli, folder: Path) -> None:
    for command in (["list"], ["inbox"], ["show", "x"], ["cancel", "x"], ["purge", "--older-than", "1d"]):
        cli(*command)
    assert not (folder / ".durable").exists()


@pytest.mark.usefixtures("ended")
def test_empty_selection_says_so(cli: Cli) -> None:
    assert cli("list", "--status", "stuck").err.startswith("no runs match in sqlite:///")


@pytest.mark.usefixtures("ended")
def test_list_shows_runs_newest_first(cli: Cli) -> None:
    lines = cli("list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "d1", "o1", "h1"]
    assert "waits for approval 'go': Deploy v1?" in lines[1]
    assert "card declined" in lines[2]


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize(
    ("flags", "ids"),
    [
        (["--status", "failed"], ["o1"]),
        (["--status", "failed,completed"], ["o1", "h1"]),
        (["--status", "open"], ["d1"]),
        (["--workflow", "hello"], ["h1"]),
        (["--prefix", "o"], ["o1"]),
        (["--actor", "user:bob"], ["o1"]),
        (["--started-after", "1h"], ["d1", "o1", "h1"]),
        (["--started-before", "1h"], []),
        (["--attribute", "customer=acme"], []),
        (["--limit", "1"], ["d1"]),
        (["--rollback", "none"], ["d1", "o1", "h1"]),
        (["--rollback", "failed"], []),
    ],
)
def test_list_filters(cli: Cli, flags: list[str], ids: list[str]) -> None:
    assert [run["workflow_id"] for run in cli("list", "--json", *flags).data["runs"]] == ids


@pytest.mark.usefixtures("ended")
def test_list_says_how_many_more_there_are(cli: Cli) -> None:
    assert "2 more; go on with --after " in cli("list", "--limit", "1").err


@pytest.mark.usefixtures("ended")
def test_export_with_json_is_a_result(cli: Cli) -> None:
    assert cli("export", "h1", "--json").out == cli("export", "h1").out


@pytest.mark.usefixtures("ended")
def test_list_goes_on_behind_the_page_before(cli: Cli) -> None:
    ids, after = [], []
    for _ in range(3):
        page = cli("list", "--limit", "1", "--json", *after).data
        assert page["count"] == 3
        ids += [run["workflow_id"] for run in page["runs"]]
        after = ["--after", str(page["after"])]
    assert (ids, page["after"]) == (["d1", "o1", "h1"], None)
    note = cli("list", "--limit", "1").err.strip()
    assert cli("list", "--limit", "2", *note.split()[-2:]).out.count("\n") == 3
    assert cli("list", "--after", "oops").code == 2
    assert cli("list", "--rollback", "oops").code == 2
    assert cli("list", "--limit", "1", "--json").data["count"] == 3


def test_unknown_status_lists_the_known_ones(cli: Cli) -> None:
    ran = cli("list", "--status", "done")
    assert ran.code == 2
    assert "completed" in ran.err


@pytest.mark.usefixtures("ended")
def test_show_tells_the_story_of_a_failed_run(cli: Cli) -> None:
    out = cli("show", "o1").out
    assert out.startswith("o1  failed\n")
    assert "by user:bob" in out
    assert "✗ step pay" in out
    assert "(2 attempts)" in out
    assert "attempt 1 failed" in out
    assert "card declined" in out
    error = out[out.index("\nValueError: card declined\n") :].splitlines()
    assert error[2].startswith("  at app.py:")
    assert "in pay" in error[2]


@pytest.mark.usefixtures("ended")
def test_show_names_what_is_waited_for_and_how_to_answer(cli: Cli) -> None:
    out = cli("status", "d1").out
    assert "waits for  approval 'go': Deploy v1?" in out
    assert "… approval go (Deploy v1?)" in out
    assert "durable approve d1 --key go" in out


@pytest.mark.usefixtures("ended")
def test_show_as_json_has_run_and_timeline(cli: Cli) -> None:
    data = cli("show", "h1", "--json").data
    assert data["run"]["status"] == "completed"
    assert [(entry["kind"], entry["state"]) for entry in data["timeline"]] == [("run", "done"), ("step", "done")]
    assert data["timeline"][1]["input"] == {"name": "Ada"}
    assert data["timeline"][1]["result"] == "Hello, Ada!"


@pytest.mark.usefixtures("ended")
def test_show_shortens_long_values_unless_asked(cli: Cli) -> None:
    cli("run", "app.py:hello", "-i", f"name={'A' * 200}", "--id", "long")
    assert "A" * 200 not in cli("show", "long").out
    assert "A" * 200 in cli("show", "long", "--values").out


def test_run_is_found_by_its_run_id_too(cli: Cli) -> None:
    run_id = cli("run", "app.py:hello", "--id", "h1", "--json").events[0]["run_id"]
    assert cli("show", run_id).out.startswith("h1  completed")


@pytest.mark.usefixtures("ended")
def test_history_shows_events(cli: Cli) -> None:
    out = cli("history", "h1", "--verify").out
    assert [line.split()[4] for line in out.splitlines()[1:]] == [
        "RunStarted",
        "StepScheduled",
        "StepCompleted",
        "RunCompleted",
    ]
    events = cli("history", "h1", "--json", "--after", "1", "--limit", "1").events
    assert [(event["event"], event["seq"], event["value"]) for event in events] == [
        ("StepScheduled", 2, {"name": "Ada"})
    ]


@pytest.mark.usefixtures("ended")
def test_history_that_was_altered_is_found(cli: Cli, folder: Path) -> None:
    with sqlite3.connect(folder / ".durable" / "durable.db") as connection:
        connection.execute("UPDATE durable_events SET payload = replace(payload, 'Ada', 'Eve')")
    connection.close()
    ran = cli("history", "h1", "--verify")
    assert ran.code == 7
    assert "DUR5001" in ran.err


@pytest.mark.usefixtures("ended")
def test_history_without_its_end_is_found_wherever_it_is_read(cli: Cli, folder: Path) -> None:
    with sqlite3.connect(folder / ".durable" / "durable.db") as connection:
        connection.execute("DELETE FROM durable_events WHERE kind = 'RunCompleted'")
    connection.close()
    ran = cli("history", "h1", "--verify")
    assert (ran.code, ran.out) == (7, "")
    assert "[DUR5001] the history of 'h1'" in ran.err
    assert "ends with event 3, but its row says 4: event 4 is missing" in ran.err
    ran = cli("history", "h1")
    assert (ran.code, len(ran.out.splitlines())) == (0, 4)
    assert "the last events are missing: the run's row says that there are 4" in ran.err
    assert "corrupted  [DUR5001] the history of 'h1'" in cli("show", "h1").out
    ran = cli("run", "app.py:hello", "-i", "name=Ada", "--id", "h1")
    assert (ran.code, ran.out) == (7, "run h1\n")
    assert "[DUR5001]" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.usefixtures("ended")
def test_logs_of_steps_and_workflow_are_kept_with_the_run(cli: Cli) -> None:
    out = cli("logs", "h1").out
    assert "hello: saying hello" in out
    assert "greet: greeting Ada" in out
    assert [event["source"] for event in cli("logs", "h1", "--json").events] == ["hello", "greet"]
    assert [event["source"] for event in cli("logs", "h1", "--json", "-n", "1").events] == ["greet"]
    assert cli("logs", "h1", "--follow").out == out
    assert cli("logs", "o1").err.startswith("no log lines of o1 in sqlite:///")


def test_lines_that_were_shown_are_not_shown_again() -> None:
    a, b, c, d = (LogRow("r", at, "INFO", "s", "m") for at in range(4))
    assert _overlap([], [a, b]) == 0
    assert _overlap([a, b], [a, b, c]) == 2
    assert _overlap([a, b, c], [b, c, d]) == 2  # the oldest was dropped
    assert _overlap([a, b], [c, d]) == 0
    assert _overlap([a, b], [a, b]) == 2


def test_show_tells_of_children_fields_and_rollback(cli: Cli, write: Callable[[str, str], Path]) -> None:
    write(
        "family.py",
        """
        from durable import Context, RetryPolicy, step, workflow

        @step(retry=RetryPolicy(max_attempts=1))
        async def unmake(made: int) -> None:
            raise RuntimeError("cannot undo")

        @step(compensate=unmake)
        async def make() -> int:
            return 1

        @workflow
        async def small(ctx: Context) -> int:
            return 2

        @workflow
        async def family(ctx: Context) -> None:
            ctx.set_attributes(customer="acme")
            await ctx.child_workflow(small.options(id="the-child"))
            await ctx.step(make)
            raise ValueError("too late")
        """,
    )
    assert cli("run", "family.py:family", "--id", "f1").code == 1
    out = cli("show", "f1").out
    for line in (
        "rollback   failed",
        "attributes customer=acme",
        "child      the-child (small): completed",
        "✓ child small (the-child)",
        "✗ rollback",
        '✗ compensation unmake {"made":1}',
        "RuntimeError: cannot undo  at family.py:6 in unmake",
        "✗ run failed",
    ):
        assert line in out, out
    assert [run["workflow_id"] for run in cli("list", "--attribute", "customer=acme", "--json").data["runs"]] == ["f1"]
    assert "failed, rollback failed" in cli("list").out
    assert "the rollback of f1 goes on" in cli("rollback", "f1").out
    assert cli("rollback", "the-child", "--json").code == 6


def test_show_says_when_a_delayed_run_begins(cli: Cli) -> None:
    cli("start", "app.py:hello", "--id", "h1", "--delay", "1d")
    assert "next at" in cli("show", "h1").out


@pytest.mark.usefixtures("ended")
def test_inbox_lists_questions_with_the_commands_that_answer_them(cli: Cli) -> None:
    out = cli("inbox").out
    assert out.startswith("d1  approval 'go', asked ")
    assert 'context: {"risk":"low"}' in out
    assert "durable reject d1 --key go" in out
    assert [(one["workflow_id"], one["key"]) for one in cli("inbox", "--json").data["questions"]] == [("d1", "go")]


# -- what is not there, and what cannot be opened ---------------------------------------------------------

ABOUT_ONE_RUN = [
    ["show", "x"],
    ["history", "x"],
    ["logs", "x"],
    ["signal", "x", "go", "1"],
    ["query", "x", "progress"],
    ["update", "x", "add"],
    ["answer", "x", "1"],
    ["approve", "x"],
    ["reject", "x"],
    ["cancel", "x"],
    ["terminate", "x"],
    ["pause", "x"],
    ["resume", "x"],
    ["retry", "x"],
    ["rollback", "x"],
]


@pytest.mark.parametrize("command", ABOUT_ONE_RUN, ids=lambda command: command[0])
def test_unknown_run_exits_with_3_and_names_the_store(cli: Cli, folder: Path, command: list[str]) -> None:
    store = f"sqlite:///{folder}/.durable/durable.db"
    for _ in range(2):
        ran = cli(*command)
        assert ran.code == 3
        assert f"no run 'x'{'' if (folder / '.durable').exists() else ':'}" in ran.err
        assert store in ran.err
        cli("run", "app.py:hello")


def test_error_for_programs_is_json_on_standard_error(cli: Cli) -> None:
    import json

    ran = cli("show", "x", "--json")
    assert ran.out == ""
    assert json.loads(ran.err)["error"]["code"] == "DUR3001"


def another_programs(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE song (title TEXT)")
    connection.close()


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE run (id TEXT)")
        connection.execute(f"PRAGMA application_id = {0x44757261}")
        connection.execute("PRAGMA user_version = 9999")
    connection.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (another_programs, "database of another program"),
        (newer, "newer version"),
        (lambda path: path.write_text("these are my notes, not a database" * 10), "is not a database"),
        (Path.mkdir, "is a directory"),
    ],
    ids=["another-programs", "newer", "notes", "directory"],
)
@pytest.mark.parametrize("command", [["list"], ["run", "app.py:hello"], ["show", "x"]], ids=lambda command: command[0])
def test_file_that_is_no_store_is_refused_and_left_alone(cli: Cli, folder: Path, make, words, command) -> None:
    path = folder / "other.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    ran = cli(*command, "--store", f"sqlite:///{path}")
    assert ran.code == 7
    assert words in ran.err
    assert str(path) in ran.err
    assert (path.read_bytes() if path.is_file() else None) == before


def test_place_that_cannot_be_written_is_told(cli: Cli, folder: Path) -> None:
    (folder / "file").write_text("")
    for url in (f"sqlite:///{folder}/file/x.db", "sqlite:////proc/durable/x.db", "sqlite:////proc/x.db"):
        ran = cli("run", "app.py:hello", "--store", url)
        assert ran.code == 7
        assert "DUR2001" in ran.err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("app.db", "did you mean sqlite:///app.db?"),
        ("sqlit:///app.db", "did you mean sqlite://?"),
        ("sqlite://app.db", "three slashes"),
    ],
)
def test_url_that_is_none_says_what_was_meant(cli: Cli, url: str, words: str) -> None:
    ran = cli("list", "--store", url)
    assert ran.code == 2
    assert words in ran.err


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING])
def test_list_says_that_nobody_serves_a_run_whose_worker_left(status: RunStatus) -> None:
    left = RunSummary.model_construct(
        status=status, workflow="hello", worker=None, superseded_by=None, reason=None, waiting_for=None
    )
    assert _about(left, Page([left])) == "no worker that has its workflow is running"
