"""The command ``durable``.

    app          the table of commands; only the module of the command that is asked for is imported
    settings     ``[tool.durable]`` of pyproject.toml, below ``DURABLE_*`` variables and flags
    options      the flags that commands share
    session      from flags to a client, from an exception to a message and an exit code
    output       JSON, plain text, and rich text on a terminal
    run, worker, start, look, message, steer, house, project    the commands, by group
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process and exit."""
    from runtime.cli.app import run_app

    run_app(sys.argv[1:])
