"""``durable worker --reload``: a supervisor that starts the worker again whenever a source file changes.

The worker is a fork of the supervisor, made before any code of the user's is imported, so that each one begins clean.
It is in a process group of its own: signals of the terminal reach the supervisor, which passes them on.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Final

from runtime.cli.exitcode import ExitCode

log = logging.getLogger("durable.worker")

LOOK_SECONDS: Final = 0.3
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SUFFIXES: Final = frozenset({".py", ".yaml", ".yml"})
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


def is_supervisor(targets: Sequence[str]) -> int | None:
    """Split into supervisor and worker. The supervisor stays here until the end and returns the exit code; every
    worker that it starts returns None and goes on as a worker."""
    return _Supervisor(watched_folders(targets)).supervise()


class _Supervisor:
    """Starts workers, one at a time."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._asked: list[int] = []
        self._worker: int | None = None

    def supervise(self) -> int | None:
        handlers = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        while True:
            seen = snapshot(self._folders)
            forked = self._fork(handlers)
            if forked is None:
                return ExitCode.OK
            if forked == 0:
                return None
            code = self._watch(seen)
            if code is not None:
                return code

    def _fork(self, handlers: Mapping[signal.Signals, Any]) -> int | None:
        """Start a worker, which gets these handlers; None if an end was asked for before.

        Signals wait meanwhile: one that came before it is known who is to have it would be taken for passed on, or be lost in
        the worker, and the supervisor would wait for a worker that knows of nothing.
        """
        supervisor = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if self._asked:
                return None
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)
                threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
                for number, handler in handlers.items():
                    signal.signal(number, handler)
            else:
                self._worker = child
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return child

    def _watch(self, seen: dict[Path, int]) -> int | None:
        """Watch the worker and its files; the exit code if all is over, None if a new worker is wanted."""
        changed: set[Path] = set()
        while not changed:
            time.sleep(LOOK_SECONDS)
            ended = self._poll()
            if self._asked:
                return ended if ended is not None else self._end()
            changed = _differences(seen, snapshot(self._folders))
            if ended is not None and not changed:
                log.error("the worker ended with code %d; it is started again when a file changes", ended)
                changed = self._wait_for_change(seen)
                if not changed:
                    return ended
        log.info("%s changed, starting again", ", ".join(sorted(path.name for path in changed)))
        code = self._end()
        return code if self._asked else None

    def _wait_for_change(self, seen: dict[Path, int]) -> set[Path]:
        while not self._asked:
            time.sleep(LOOK_SECONDS)
            changed = _differences(seen, snapshot(self._folders))
            if changed:
                return changed
        return set()

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._asked.append(number)
        if self._worker is not None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self._worker, number)

    def _poll(self) -> int | None:
        """The worker's exit code, if it has ended."""
        return self._reap(os.WNOHANG)

    def _end(self) -> int:
        """Ask the worker to end, unless a signal did, and wait for it."""
        if self._worker is not None and not self._asked:
            os.kill(self._worker, signal.SIGTERM)
        code = self._reap(0)
        return ExitCode.OK if code is None else code

    def _reap(self, options: int) -> int | None:
        if self._worker is None:
            return None
        ended, status = os.waitpid(self._worker, options)
        if ended == 0:
            return None
        self._worker = None
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def _end_with(supervisor: int) -> None:
    """In the worker: ask for an end when the supervisor is gone."""
    while os.getppid() == supervisor:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def watched_folders(targets: Sequence[str]) -> list[Path]:
    """The directories in which the sources of these targets are."""
    folders = []
    for target in targets:
        location = target.partition(":")[0]
        if location.endswith(tuple(_SUFFIXES)) or "/" in location:
            folders.append(Path(location).resolve().parent)
            continue
        top = Path.cwd() / location.partition(".")[0]
        spec = find_spec(location.partition(".")[0]) if not top.exists() else None
        origin = spec.origin if spec is not None else None
        folders.append(top if top.is_dir() else Path(origin).parent if origin else Path.cwd())
    return list(dict.fromkeys(folders))


def snapshot(folders: Sequence[Path]) -> dict[Path, int]:
    """Source files below these directories and when they were changed."""
    seen = {}
    for folder in folders:
        for file in _sources(folder):
            try:
                seen[file] = file.stat().st_mtime_ns
            except OSError:
                continue  # it went away between listing and looking
    return seen


def _sources(folder: Path) -> Iterator[Path]:
    for root, names, files in os.walk(folder):
        names[:] = [
            name
            for name in names
            if not name.startswith(".") and name not in _SKIPPED and not Path(root, name, "pyvenv.cfg").exists()
        ]
        yield from (Path(root, file) for file in files if Path(file).suffix in _SUFFIXES)


def _differences(before: dict[Path, int], after: dict[Path, int]) -> set[Path]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
