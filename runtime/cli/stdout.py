"""Standard output for results only: with ``--json``, what the user's code and its subprocesses print goes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Final, TextIO

_STDOUT: Final = 1
_STDERR: Final = 2

_kept: list[TextIO] = []
"""Where results go while everything else that is written to standard output goes elsewhere."""


def results() -> TextIO:
    """The stream for results."""
    return _kept[-1] if _kept else sys.stdout


@contextmanager
def kept_for_results() -> Iterator[None]:
    """Let only ``results()`` write to standard output. File descriptors are exchanged as well, since subprocesses inherit them."""
    sys.stdout.flush()
    own = _exchange()
    _kept.append(own or sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _kept.pop()
        if own is not None:
            try:
                own.flush()
            finally:
                os.dup2(own.fileno(), _STDOUT)
                with suppress(OSError):
                    own.close()


def _exchange() -> TextIO | None:
    """Let standard output mean standard error; the stream that still writes to what it was. None if it is no file of the process."""
    stdout = sys.stdout
    try:
        if stdout.fileno() != _STDOUT:
            return None
        own = os.fdopen(os.dup(_STDOUT), "w", encoding=stdout.encoding, errors=stdout.errors)
        os.dup2(_STDERR, _STDOUT)
    except OSError:  # a stream in memory, or standard error is closed
        return None
    return own
