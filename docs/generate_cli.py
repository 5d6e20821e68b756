"""Writes docs/cli.md from the command's own help; a test compares the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main

from runtime.cli.app import COMMANDS, build_app
from runtime.cli.exitcode import MEANINGS

PAGE = Path(__file__).with_name("cli.md")


def render() -> str:
    """The page's text."""
    group: Any = typer.main.get_command(build_app())
    lines = [
        "# Command line",
        "",
        "Made from the command's own help. Every command takes `--store URL` (`DURABLE_STORE`) and `--json`. Settings come from `[tool.durable]` in",
        "pyproject.toml, then `DURABLE_*` variables, then flags; the later wins.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items()),
        "",
    ]
    panel = ""
    for name, entry in COMMANDS.items():
        if entry.panel != panel:
            panel = entry.panel
            lines += [f"## {panel}", ""]
        lines += _command(name, group.commands[name])
    return "\n".join(lines)


def _command(name: str, command: Any) -> list[str]:
    with typer.Context(command, info_name=f"durable {name}") as context:
        usage = " ".join(command.collect_usage_pieces(context))
        lines = [
            f"### durable {name}",
            "",
            f"```console\ndurable {name} {usage}\n```",
            "",
            (command.help or "").strip(),
            "",
        ]
        rows = []
        for parameter in command.get_params(context):
            if parameter.name == "help":
                continue
            names = ", ".join(f"`{item}`" for item in [*parameter.opts, *parameter.secondary_opts])
            text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
            rows.append(f"| {names} | {text} |")
    if rows:
        lines += ["| argument | meaning |", "|---|---|", *rows, ""]
    return lines


if __name__ == "__main__":
    PAGE.write_text(render())
