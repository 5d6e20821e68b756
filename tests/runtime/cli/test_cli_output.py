"""What is printed: always JSON for programs, nothing that steers a terminal for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.command import Cli
from runtime.cli.command import protect_numbers
from runtime.cli.output import Output
from runtime.cli.text import json_text, visible

Write = Callable[[str, str], Path]

ODD = """
    import math
    from fractions import Fraction
    from typing import Any

    from durable import Context, Query, Update, step, workflow

    add = Update("add", int, returns=float)

    @step
    async def infinite(value: float) -> float:
        return value

    @workflow
    async def odd(ctx: Context, value: float) -> dict[str, Any]:
        ctx.publish("nan", math.nan)
        return {"nan": math.nan, "list": [await ctx.step(infinite, value), -math.inf]}

    @workflow
    async def raw(ctx: Context) -> bytes:
        return b"\\xff"

    @workflow
    async def red(ctx: Context) -> str:
        ctx.log.info("a \\x1b[31mred\\x1b[0m line")
        await ctx.step(infinite, 1.0)
        return "\\x1b[31mred\\x1b[0m"
"""


def strict(text: str) -> Any:
    """A JSON document; Python's own reader takes NaN for JSON."""

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    "command", [["show", "o1"], ["history", "o1"], ["list"], ["logs", "o1"], ["inbox"], ["version"]]
)
def test_looking_at_numbers_that_json_lacks_is_json(cli: Cli, write: Write, command: list[str]) -> None:
    write("odd.py", ODD)
    assert cli("run", "odd.py:odd", "--id", "o1", "-i", "value=Infinity").code == 0
    ran = cli(*command, "--json")
    assert ran.code == 0
    documents = ran.out.splitlines() if command[0] in ("history", "logs") else [ran.out]
    for document in documents:
        strict(document)


def test_results_that_json_lacks_are_texts(cli: Cli, write: Write) -> None:
    write("odd.py", ODD)
    ran = cli("run", "odd.py:odd", "--id", "o1", "-i", "value=Infinity", "--json")
    last = [strict(line) for line in ran.out.splitlines()][-1]
    assert last["result"] == {"nan": "NaN", "list": ["Infinity", "-Infinity"]}
    assert strict(cli("run", "odd.py:odd", "--id", "o1").out.partition("\n")[2])["nan"] == "NaN"
    assert strict(
        cli("start", "odd.py:odd", "--id", "o1", "--wait", "--json", "-i", "value=Infinity").out.splitlines()[-1]
    )
    assert strict(cli("run", "odd.py:raw", "--json").out.splitlines()[-1])["result"] == "_w=="


def test_error_with_numbers_that_json_lacks_is_json(cli: Cli, app: Path) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    ran = cli("signal", "w1", "go", "NaN", "--json")
    cli("run", "app.py:hello")
    assert ran.code == 0 or strict(ran.err)
    assert strict(json_text({"error": {"data": {"value": float("nan")}}}))["error"]["data"] == {"value": "NaN"}


def test_error_about_half_a_character_is_json(cli: Cli, app: Path) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    ran = cli("show", "x", "--store", "sqlite:///\udcff.db", "--json")
    assert ran.code == 3
    assert "no run" in strict(ran.err)["error"]["message"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["show", "--json"], "Missing argument 'ID'"),
        (["list", "--json", "--limit", "none"], "--limit"),
        (["list", "--jsno", "--json"], "--jsno"),
        (["lst", "--json"], "lst"),
        (["purge", "--json"], "--older-than"),
    ],
)
def test_usage_errors_for_programs_are_json(cli: Cli, folder: Path, args: list[str], words: str) -> None:
    ran = cli(*args)
    assert ran.code == 2
    assert ran.out == ""
    error = strict(ran.err)["error"]
    assert set(error) == {"code", "type", "message"}
    assert (error["code"], error["type"]) == ("DUR2005", "ConfigurationError")
    assert words in error["message"]


# -- terminals --------------------------------------------------------------------------------------------


def test_ids_that_would_steer_a_terminal_are_refused(cli: Cli, app: Path) -> None:
    for odd in ("a\x1b[2Jb", "a\nb"):
        ran = cli("start", "app.py:hello", "--id", odd)
        assert ran.code == 2
        assert "without control characters" in ran.err
        assert "\x1b" not in ran.err
    assert cli("start", "app.py:hello", "--id", "Zürich 東京 №1").code == 0


def test_what_steers_a_terminal_is_written_out(cli: Cli, write: Write) -> None:
    write("odd.py", ODD)
    ran = cli("run", "odd.py:red", "--id", "r1")
    assert ran.out.endswith("\x1b[31mred\x1b[0m\n")  # a pipe gets the result as it is
    for command in (["show", "r1"], ["logs", "r1"], ["show", "no\x1bbody"]):
        ran = cli(*command)
        assert "\x1b" not in ran.out + ran.err
    assert r"a \x1b[31mred\x1b[0m line" in cli("logs", "r1").out
    assert visible("a\tb\nc\x07 \u202etxt.exe \udcff") == "a\tb\nc\\x07 \\u202etxt.exe \\udcff"


def test_long_cell_does_not_widen_the_column(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("id", "status"), [("x" * 5000, "waiting"), ("short", "failed")])
    _, long, short = capsys.readouterr().out.splitlines()
    assert long == "x" * 5000 + "  waiting"
    assert short == "short  failed"


# -- negative numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "protected"),
    [
        (["m", "add", "-5"], ["--", "m", "add", "-5"]),
        (["m", "add", "-.5", "--timeout", "3s"], ["--timeout", "3s", "--", "m", "add", "-.5"]),
        (["--key", "-3", "m", "yes"], ["--key", "-3", "m", "yes"]),
        (["m", "add", "--json", "-1e3"], ["--json", "--", "m", "add", "-1e3"]),
        (["m", "--", "-5", "--json"], ["--", "m", "-5", "--json"]),
        (["m", "add", "--nope"], ["m", "add", "--nope"]),
        (["m", "-5", "--timeout"], ["--timeout", "--", "m", "-5"]),
        ([], []),
    ],
)
def test_negative_numbers_are_arguments(args: list[str], protected: list[str]) -> None:
    assert protect_numbers(args, {"--timeout", "--key"}) == protected


def test_negative_values_reach_the_run(cli: Cli, app: Path) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    assert cli("signal", "w1", "go", "-7").out == "signal go sent to w1\n"
    assert cli("run", "app.py:waits", "--id", "w1").out.splitlines()[-1] == "-7"
    assert cli("update", "w1", "add", "-5").code == 6
    assert cli("answer", "w1", "-3").code == 3
    assert "No such option: --nope" in cli("signal", "w1", "go", "--nope").err


@pytest.mark.parametrize(
    "args",
    [
        ["start", "app.py:hello", "-i", "name=\udcff"],
        ["start", "app.py:hello", "--id", "half \udcff"],
        ["start", "app.py:hello", "--by", "\udcff"],
        ["start", "app.py:hello", "--queue", "\udcff"],
        ["run", "app.py:hello", "-i", "name=\udcff"],
        ["signal", "x", "\udcff"],
        ["signal", "x", "go", "\udcff"],
        ["signal", "x", "go", "--message-id", "\udcff"],
        ["query", "x", "\udcff"],
        ["update", "x", "\udcff"],
        ["approve", "x", "--comment", "\udcff"],
        ["cancel", "x", "--reason", "\udcff"],
        ["terminate", "\udcff"],
        ["list", "--prefix", "\udcff"],
        ["list", "--workflow", "\udcff"],
        ["list", "--actor", "\udcff"],
        ["list", "--attribute", "a=\udcff"],
    ],
)
def test_bytes_that_are_no_text_are_refused(cli: Cli, app: Path, args: list[str]) -> None:
    cli("start", "app.py:waits", "--id", "x")
    ran = cli(*args)
    assert ran.code == 2
    assert "\\xff' is not UTF-8" in ran.err
    ran = cli(*args, "--json")
    assert (ran.code, "DUR2005" in ran.err) == (2, True)


def test_file_of_a_store_may_have_any_name(cli: Cli, app: Path) -> None:
    store = "sqlite:///\udcff.db"
    assert cli("start", "app.py:hello", "--id", "h1", "--store", store).code == 0
    assert "h1" in cli("list", "--store", store).out
