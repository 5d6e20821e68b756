"""``--json``: what a command prints on success is JSON, whichever command it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.command import Cli


@pytest.mark.usefixtures("app")
def test_every_command_that_does_something_to_a_run_prints_json(cli: Cli, folder: Path) -> None:
    assert (
        json.loads(cli("start", "app.py:deploy", "-i", "version=v1", "--id", "d", "--json").out)["workflow_id"] == "d"
    )
    asked = cli("run", "app.py:deploy", "--id", "d", "--json")
    assert asked.code == 4
    said: dict[str, object] = {}
    for command in (
        ("inbox",),
        ("approve", "d", "--comment", "go"),
        ("list",),
        ("show", "d"),
        ("status", "d"),
        ("history", "d"),
        ("logs", "d"),
        ("pause", "d"),
        ("resume", "d"),
        ("cancel", "d"),
        ("terminate", "d", "--yes"),
        ("backup", "copy.db"),
        ("purge", "--older-than", "1s", "--yes"),
        ("version",),
    ):
        done = cli(*command, "--json")
        assert done.code == 0, (command, done.out, done.err)
        is_lines = command[0] in ("history", "logs")  # which are read while they are written
        said[command[0]] = [json.loads(line) for line in done.out.splitlines()] if is_lines else done.data
    assert said["approve"] is not None
    assert (folder / "copy.db").is_file()
    for command in (("show", "nobody"), ("cancel", "nobody"), ("answer", "nobody", "5"), ("reject", "nobody")):
        assert cli(*command, "--json").code == 3
