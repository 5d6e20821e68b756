"""The command ``durable``.

app          the table of commands; only the module of the command that is asked for is imported
options      the flags that commands share
session      from flags to a client, from an exception to a message and an exit code
output       JSON, plain text, and rich text on a terminal
run, worker, start, look, message, steer, undo, house, project    the commands, by group
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line of this process and exit."""
    from runtime.cli.app import run_app

    try:
        run_app(sys.argv[1:])
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave_threads(end.code)
        raise


def _leave_threads(code: int) -> None:
    """End the process now if a step still runs in a thread: nobody can stop it, and nobody waits for it any more."""
    import threading

    main_thread = threading.main_thread()
    if any(not thread.daemon and thread is not main_thread for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
