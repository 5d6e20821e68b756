"""The files of another revision, in a directory of their own for as long as they are needed, however that ends."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from durable.errors import ConfigurationError

_ENDED: Final = 128 + signal.SIGTERM


@dataclass(frozen=True, slots=True)
class Worktree:
    """A revision on disk.

    Attributes:
        repository: the working tree of which it is a revision.
        root: where its files are.
        commit: which one it is.
    """

    repository: Path
    root: Path
    commit: str

    def counterpart(self, path: Path) -> Path | None:
        """The same file or directory in the revision; None if the path is elsewhere, or the revision has it not."""
        if not path.is_relative_to(self.repository):
            return None
        there = self.root / path.relative_to(self.repository)
        return there if there.exists() else None


@contextmanager
def worktree(revision: str, start: Path) -> Iterator[Worktree]:
    """Check out a revision in a temporary directory, and remove it when the block ends, also by Ctrl-C or SIGTERM.

    Args:
        revision: whatever git understands: a tag, a branch, ``HEAD~1``.
        start: a directory of the repository.

    Raises:
        ConfigurationError: there is no git, no repository or no such revision.
    """
    repository = Path(_git(start, "rev-parse", "--show-toplevel")).resolve()
    try:
        commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except ConfigurationError as error:
        raise ConfigurationError(f"{repository} has no revision {revision!r}; see: git log --oneline") from error
    folder = Path(tempfile.mkdtemp(prefix="durable-against-")).resolve()
    root = folder / "tree"
    with _terminable():
        try:
            # Hooks are the repository's own, for people who work in it: a look at a revision must not run them.
            _git(
                repository,
                "-c",
                "core.hooksPath=/dev/null",
                "worktree",
                "add",
                "--detach",
                "--quiet",
                str(root),
                commit,
            )
            yield Worktree(repository, root, commit)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _git(repository, "worktree", "prune")


def _git(folder: Path, *args: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - git, with arguments that are no options
            ["git", "-C", str(folder), *args],  # noqa: S607 - the user's own git
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ConfigurationError("--against needs git, which is not installed here") from error
    if done.returncode:
        raise ConfigurationError(f"git {' '.join(args[:2])} failed in {folder}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block as an exception, so that what it made is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signature of a handler
        raise SystemExit(_ENDED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
