"""The table of commands: what all of them have, and what help does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from cli.command import Cli
from durable import errors
from runtime.cli.app import ALIASES, COMMANDS, build_app
from runtime.cli.exitcode import MEANINGS, ExitCode
from runtime.cli.failure import exit_code_of


def flags_of(command: str) -> set[str]:
    group = typer.main.get_command(build_app([command]))
    return {flag for parameter in group.commands[command].params for flag in parameter.opts}  # type: ignore[attr-defined]


WITHOUT_A_STORE = {"check"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_store_and_json(cli: Cli, command: str) -> None:
    ran = cli(command, "--help")
    assert ran.code == 0
    assert f"Usage: durable {command}" in ran.out
    assert "--json" in flags_of(command)
    assert ("--store" in flags_of(command)) is (command not in WITHOUT_A_STORE)


def test_help_lists_every_command_and_the_exit_codes(cli: Cli) -> None:
    out = cli("--help").out
    listed = {line.split()[0] for line in out[out.index("Commands:") :].splitlines()[1:] if line.startswith("  ")}
    assert set(COMMANDS) <= listed
    assert "130 interrupted" in " ".join(out.split())
    assert not [line for line in out.splitlines()[1:] if line.endswith("...")]


def test_alias_is_the_same_command() -> None:
    for alias, command in ALIASES.items():
        assert COMMANDS[alias][:2] == COMMANDS[command][:2]


def test_command_that_does_not_exist_is_refused_with_a_suggestion(cli: Cli) -> None:
    ran = cli("lst")
    assert ran.code == 2
    assert "list" in ran.err


def test_every_exit_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunNotFoundError(), ExitCode.NOT_FOUND),
        (errors.RunClosedError(), ExitCode.REFUSED),
        (errors.RunFailedError(), ExitCode.FAILED),
        (errors.RunStuckError(), ExitCode.STUCK),
        (errors.MessageRejectedError(), ExitCode.USAGE),
        (errors.StoreUnavailableError(), ExitCode.STORE),
        (errors.ConfigurationError(), ExitCode.USAGE),
        (errors.QueryTimeoutError(), ExitCode.TIMEOUT),
        (errors.InternalError(), ExitCode.INTERNAL),
        (ValueError(), ExitCode.INTERNAL),
    ],
)
def test_exit_code_follows_who_must_act(error: Exception, code: ExitCode) -> None:
    assert exit_code_of(error) is code


def test_fault_of_ours_is_told_as_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("runtime.cli.session.Session.run", fail)
    ran = cli("list")
    assert ran.code == 70
    assert "ZeroDivisionError: ours" in ran.err
    assert "please report it" in ran.err


@pytest.mark.parametrize(
    ("args", "absent"),
    [
        (["--help"], {"durable", "pydantic", "anyio", "asyncio", "rich", "runtime.runtime"}),
        (["run", "--help"], {"durable", "rich", "runtime.runtime"}),
        (["version"], {"rich", "runtime.runtime"}),
        (["list"], {"rich", "runtime.worker.engine", "runtime.bench"}),
        (["list"], {"durable.lint"}),
        (["check", "."], {"rich", "sqlite3", "runtime.runtime", "runtime.client", "runtime.cli.session"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_command_loads_only_what_it_needs(tmp_path, args: list[str], absent: set[str]) -> None:
    code = (
        "import sys\nfrom runtime.cli.app import run_app\n"
        f"try: run_app({args!r})\nexcept SystemExit: pass\nprint('loaded', *sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(ran.stderr.splitlines()[-1].split())
    assert not absent & loaded
