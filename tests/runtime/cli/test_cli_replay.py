"""``durable replay``: exit codes for CI, words for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import APP, Cli

Write = Callable[[str, str], Path]


@pytest.fixture
def runs(cli: Cli, app: Path) -> None:
    """Two runs that wait for people, and one that has ended."""
    for number in (1, 2):
        cli("run", "app.py:deploy", "-i", f"version=v{number}", "--id", f"d{number}", "--no-ask")
    cli("run", "app.py:hello", "--id", "h1")


@pytest.mark.usefixtures("runs")
def test_same_code_is_let_through(cli: Cli) -> None:
    ran = cli("replay", "app.py")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("✓ all go on with this code: 2 runs with 4 events of sqlite:///")


@pytest.mark.usefixtures("runs")
def test_broken_deployment_is_told_with_both_sides_and_line(cli: Cli, write: Write) -> None:
    text = APP.replace(
        'decision = await ctx.ask_approval(f"Deploy', 'await ctx.sleep(1); decision = await ctx.ask_approval(f"Deploy'
    )
    write("app.py", text)
    line = next(number for number, code in enumerate(text.splitlines(), 1) if "ctx.sleep(1)" in code)
    ran = cli("replay", "app.py")
    assert ran.code == 1
    assert "1/1  2 runs of deploy: replay diverges" in ran.out
    assert "  recorded:  question('go')  (event 2)" in ran.out
    assert "  requested: sleep until " in ran.out
    assert f"  at:        app.py:{line} in deploy\n" in ran.out
    assert "  remedy:    keep the old path behind ctx.patched" in ran.out
    assert "  runs:      d2 (event 2), d1 (event 2)" in ran.out
    assert "✗ 2 of 2 would break" in ran.out


@pytest.mark.usefixtures("runs")
def test_verdict_for_programs(cli: Cli, write: Write) -> None:
    assert cli("replay", "app.py", "--json").data["ok"] is True
    write("app.py", APP.replace('key="go"', 'key="went"'))
    ran = cli("replay", "app.py", "--json")
    assert ran.code == 1
    verdict = ran.data
    assert (verdict["ok"], verdict["runs"], verdict["broken"], verdict["seed"]) == (False, 2, 2, None)
    [finding] = verdict["findings"]
    assert finding["place"].startswith("app.py:")
    assert (finding["finding"], finding["kind"], finding["count"]) == ("breakage", "divergence", 2)
    assert (finding["recorded"], finding["requested"]) == ("question('go')", "question('went')")
    assert finding["runs"] == [{"workflow_id": "d2", "event": 2}, {"workflow_id": "d1", "event": 2}]


@pytest.mark.usefixtures("runs")
def test_drifted_schema_is_told(cli: Cli, write: Write) -> None:
    cli("start", "app.py:deploy", "-i", "version=v3", "--id", "d3")
    write("app.py", APP.replace("ctx: Context, version: str", "ctx: Context, version: int"))
    ran = cli("replay", "app.py")
    assert ran.code == 1
    assert "  value:     the input of workflow 'deploy', version" in ran.out
    assert "  type:      deploy(version)" in ran.out
    assert "3 runs of deploy: a recorded value does not fit" in ran.out


@pytest.mark.usefixtures("runs")
def test_all_takes_ended_runs_as_well(cli: Cli, write: Write) -> None:
    write("app.py", APP.replace("def greet", "def salute").replace("(greet,", "(salute,"))
    assert cli("replay", "app.py").code == 0
    ran = cli("replay", "app.py", "--all", "--json")
    assert (ran.code, ran.data["runs"]) == (1, 3)
    assert cli("replay", "app.py", "--all", "--workflow", "deploy").code == 0
    assert cli("replay", "app.py", "--status", "completed").code == 1
    assert cli("replay", "app.py", "--id", "h1").code == 1


@pytest.mark.usefixtures("runs")
def test_sample_says_its_seed(cli: Cli) -> None:
    assert "seed 7, in" in cli("replay", "app.py", "--sample", "1", "--seed", "7").out
    made_up = cli("replay", "app.py", "--sample", "1", "--json").data["seed"]
    assert isinstance(made_up, int)


@pytest.mark.usefixtures("runs")
def test_changed_input_may_be_allowed(cli: Cli, write: Write) -> None:
    write("app.py", APP.replace("ctx.step(greet, name)", "ctx.step(greet, name.upper())"))
    ran = cli("replay", "app.py", "--all")
    assert ran.code == 1
    assert "an input differs" in ran.out
    assert "name: 'world' became 'WORLD'" in ran.out
    ran = cli("replay", "app.py", "--all", "--allow-input-changes")
    assert "the input differs" not in ran.out


@pytest.mark.usefixtures("runs")
def test_missing_code_is_told(cli: Cli) -> None:
    ran = cli("replay", "app.py:hello")
    assert ran.code == 1
    assert "2 runs of deploy: code is missing" in ran.out
    assert "no workflow is called 'deploy' (known: hello)" in ran.out


@pytest.mark.usefixtures("runs")
def test_no_runs_that_match(cli: Cli) -> None:
    ran = cli("replay", "app.py", "--status", "failed")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("no runs to replay in sqlite:///")


@pytest.mark.usefixtures("app")
def test_missing_store_is_no_success(cli: Cli, folder: Path) -> None:
    ran = cli("replay", "app.py")
    assert ran.code == 7
    assert "there is no store at" in ran.err
    assert not (folder / ".durable").exists()


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "needs a target"),
        (["nowhere.py"], "there is no file"),
        (["app.py", "--seed", "1"], "--seed is the seed of --sample"),
        (["app.py", "--status", "done"], "expected --status to be"),
        (["app.py", "--all", "--status", "failed"], "contradict"),
        (["app.py", "--id", "x", "--all"], "--id names the runs"),
        (["app.py", "--file", "x.json", "--all"], "--file names the runs"),
        (["app.py", "--file", "x.json"], "x.json cannot be read"),
    ],
)
def test_usage(cli: Cli, args: list[str], words: str) -> None:
    ran = cli("replay", *args)
    assert (ran.code, words in ran.err) == (2, True), ran.err


def test_unknown_run_is_told(cli: Cli, runs: None) -> None:
    assert cli("replay", "app.py", "--id", "nobody").code == 3
