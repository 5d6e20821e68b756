"""The exit codes of ``durable``, each with one meaning."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script may rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    WAITING = 4
    STUCK = 5
    REFUSED = 6
    STORE = 7
    TIMEOUT = 8
    INTERNAL = 70
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done; for `run`: the run completed",
    ExitCode.FAILED: "the run failed, was cancelled or was terminated; an update or query of it failed; `check` found something; for `replay`: some runs would break",
    ExitCode.USAGE: "the command line, the configuration, the target or the input must change",
    ExitCode.NOT_FOUND: "the store has no such run, question or message",
    ExitCode.WAITING: "the run waits for a person and nobody is at the terminal; it can go on at any time",
    ExitCode.STUCK: "the run is stuck: code or worker must be mended, nothing is lost",
    ExitCode.REFUSED: "the state of the run does not allow it; in bulk: for at least one run",
    ExitCode.STORE: "the store cannot be opened, read or written",
    ExitCode.TIMEOUT: "no answer in time; nothing is lost",
    ExitCode.INTERNAL: "a fault of this program: please report it",
    ExitCode.INTERRUPTED: "ended by Ctrl-C or a signal; the same command with `--id` goes on",
}
