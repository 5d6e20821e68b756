"""``durable check``: what it prints, and the code that it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import Cli

Write = Callable[[str, str], Path]

FLOW = """\
import time

from durable import Context, workflow


@workflow
async def deploy(ctx: Context) -> None:
    print(time.time())
"""


@pytest.mark.usefixtures("app")
def test_nothing_found_ends_with_zero(cli: Cli) -> None:
    ran = cli("check", "app.py")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "nothing found in 1 file with 6 workflows\n"


def test_findings_end_with_one_and_are_counted(cli: Cli, write: Write) -> None:
    write("flow.py", FLOW)
    ran = cli("check", "flow.py")
    assert ran.code == 1
    first, second = ran.out.splitlines()
    assert first.startswith("flow.py:8:5: DURL109 print() is called in workflow 'deploy': ")
    assert first.endswith("; use ctx.log, which is silent during replay")
    assert second.startswith("flow.py:8:11: DURL101 time.time() is called in workflow 'deploy': ")
    assert ran.err == "2 findings in 1 file with 1 workflow\n"


@pytest.mark.parametrize("args", [["--json"], ["--format", "json"]])
def test_json_is_a_list_of_findings(cli: Cli, write: Write, args: list[str]) -> None:
    write("flow.py", FLOW)
    ran = cli("check", ".", *args)
    assert ran.code == 1
    assert [(finding["code"], finding["line"], finding["column"]) for finding in ran.data] == [
        ("DURL109", 8, 5),
        ("DURL101", 8, 11),
    ]
    assert ran.err == ""
    write("flow.py", "")
    ran = cli("check", ".", *args)
    assert (ran.code, ran.data) == (0, [])


def test_sarif_is_one_log(cli: Cli, write: Write) -> None:
    write("flow.py", FLOW)
    ran = cli("check", ".", "--format", "sarif")
    assert ran.code == 1
    assert [result["ruleId"] for result in ran.data["runs"][0]["results"]] == ["DURL109", "DURL101"]


@pytest.mark.parametrize(
    ("args", "codes"),
    [
        (["--select", "DURL101"], ["DURL101"]),
        (["--select", "DURL109,DURL3"], ["DURL109"]),
        (["--ignore", "DURL101", "--ignore", "DURL109"], []),
        (["--select", "DURL1", "--ignore", "DURL109"], ["DURL101"]),
    ],
)
def test_codes_are_chosen_by_flags(cli: Cli, write: Write, args: list[str], codes: list[str]) -> None:
    write("flow.py", FLOW)
    ran = cli("check", "flow.py", "--json", *args)
    assert [finding["code"] for finding in ran.data] == codes
    assert ran.code == (1 if codes else 0)


def test_codes_are_chosen_by_settings_and_variables(
    cli: Cli, write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("flow.py", FLOW)
    (folder / "pyproject.toml").write_text('[tool.durable]\ncheck_ignore = ["DURL109"]\n')
    assert [finding["code"] for finding in cli("check", ".", "--json").data] == ["DURL101"]
    monkeypatch.setenv("DURABLE_CHECK_SELECT", "DURL109 DURL3")
    assert cli("check", ".", "--json").data == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["absent"], "there is no file or directory absent"),
        ([".", "--format", "xml"], "expected --format to be text, json or sarif, got 'xml'"),
        ([".", "--select", "DURK101"], "did you mean DURL101?"),
        ([".", "--json", "--format", "sarif"], "exclude each other"),
        ([], "Missing argument"),
    ],
)
def test_what_is_wrong_with_the_command_ends_with_two(cli: Cli, args: list[str], words: str) -> None:
    ran = cli("check", *args)
    assert ran.code == 2
    assert words in " ".join(ran.err.split())


def test_broken_file_is_a_finding(cli: Cli, write: Write) -> None:
    write("flow.py", "def deploy(:\n")
    ran = cli("check", ".")
    assert ran.code == 1
    assert ran.out.startswith("flow.py:1:12: DURL901 the file cannot be parsed: ")


def test_names_cannot_steer_the_terminal(cli: Cli, write: Write) -> None:
    write("flow\x1b[2J.py", FLOW)
    ran = cli("check", ".")
    assert "\x1b" not in ran.out
    assert "\\x1b[2J" in ran.out
    assert json.loads(cli("check", ".", "--json").out)[0]["path"] == "flow\x1b[2J.py"
