"""Writes docs/cli.md from the command itself; a test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from runtime.cli.app import ALIASES, COMMANDS, build_app
from runtime.cli.exitcode import MEANINGS
from runtime.settings import SETTINGS

PAGE = Path(__file__).with_name("cli.md")

INTRODUCTION = """\
# Command line

This page is made from the command itself (`python docs/generate_cli.py`). `python -P -m runtime` is the same as `durable`;
without `-P` Python would take a `runtime.py` of yours for it.

Results go to standard output, remarks and log lines to standard error. On a terminal the output is rich text, elsewhere
plain text; characters that would steer a terminal are written out there.

With `--json` the output is JSON: one document, or for `run`, `start`, `history` and `logs` one object a line. NaN and the infinities, which JSON lacks,
are the texts `"NaN"`, `"Infinity"` and `"-Infinity"`. An error, also in the arguments, is an object on standard error:
`{"error": {"code": "DUR3001", "type": "RunNotFoundError", "message": "...", "data": {...}}}`.

Negative numbers are taken as values (`durable update ID add -5`); any other value that begins with a dash needs `--` before it.
"""

CONFIGURATION = """\
## Configuration

Flags win over variables, variables over `[tool.durable]` in `pyproject.toml` (that of the nearest directory, from the working
directory upwards, that has the table). Lists in variables are separated by spaces.
"""


def render() -> str:
    """The page's text."""
    group: Any = typer.main.get_command(build_app())
    lines = [INTRODUCTION, "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    lines += ["", CONFIGURATION, "| setting | variable | type | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | `{setting.variable}` | {setting.kind.__name__} | {setting.meaning} |"
        for name, setting in SETTINGS.items()
    ]
    lines.append("")
    panel = ""
    for name, entry in COMMANDS.items():
        if entry.panel != panel:
            panel = entry.panel
            lines += [f"## {panel}", ""]
        lines += _command(name, group.commands[name])
    return "\n".join(lines)


def _command(name: str, command: Any) -> Iterator[str]:
    yield from (f"### durable {name}", "")
    if name in ALIASES:
        yield from (f"The same as `durable {ALIASES[name]}`.", "")
        return
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    words = " ".join(_usage(argument) for argument in arguments)
    yield from ("```console", f"durable {name} {words}".rstrip() + " [OPTIONS]", "```", "")
    yield from ((command.help or "").strip(), "")
    if arguments:
        yield from ("| argument | meaning |", "|---|---|")
        yield from (f"| `{argument.metavar}` | {_text(argument.help)} |" for argument in arguments)
        yield ""
    yield from ("| option | default | meaning |", "|---|---|---|")
    for option in options:
        value = f" {option.metavar}" if option.metavar and not option.is_flag else ""
        names = ", ".join(f"`{flag}{value}`" for flag in option.opts)
        variable = f" (`{option.envvar}`)" if option.envvar else ""
        yield f"| {names} | {_default(option)} | {_text(option.help)}{variable} |"
    yield ""


def _usage(argument: Any) -> str:
    repeated = "..." if argument.nargs == -1 else ""
    return f"{argument.metavar}{repeated}" if argument.required else f"[{argument.metavar}{repeated}]"


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.is_flag or option.default in (None, "", ()):
        return ""
    return f"`{option.default}`"


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render())
