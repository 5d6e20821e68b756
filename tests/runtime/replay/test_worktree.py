"""The files of another revision: there while they are needed, gone however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from durable.errors import ConfigurationError
from runtime.replay.worktree import worktree

PROGRAM = """
import signal, sys
from pathlib import Path
from runtime.replay.worktree import worktree
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background has it ignored
with worktree("HEAD", Path.cwd()) as tree:
    print(tree.root, flush=True)
    sys.stdin.read()
"""


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *args],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    (folder / "src").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "src" / "app.py").write_text("one")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    (folder / "src" / "app.py").write_text("two")
    git(folder, "commit", "-qam", "two")
    return folder


def trees(repository: Path) -> int:
    return git(repository, "worktree", "list", "--porcelain").count("worktree ")


def test_revision_is_there_and_gone_afterwards(repository: Path) -> None:
    with worktree("HEAD~1", repository / "src") as tree:
        assert (tree.root / "src" / "app.py").read_text() == "one"
        assert tree.counterpart(repository / "src") == tree.root / "src"
        assert tree.counterpart(repository / "src" / "new.py") is None
        assert tree.counterpart(Path(sys.prefix)) is None
        assert trees(repository) == 2
    assert not tree.root.parent.exists()
    assert trees(repository) == 1
    assert (repository / "src" / "app.py").read_text() == "two"


def test_it_is_gone_after_a_failure(repository: Path) -> None:
    with pytest.raises(ZeroDivisionError), worktree("HEAD", repository) as tree:
        raise ZeroDivisionError
    assert not tree.root.parent.exists()
    assert trees(repository) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_gone_after_a_signal(repository: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=repository, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    root = Path(process.stdout.readline().strip())
    assert (root / "src" / "app.py").exists()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not root.parent.exists()
    assert trees(repository) == 1


def test_hooks_of_the_repository_are_not_run(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repository / 'hooked'}\n")
    hook.chmod(0o755)
    with worktree("HEAD", repository):
        pass
    assert not (repository / "hooked").exists()


@pytest.mark.parametrize("revision", ["nope", "--help", ""])
def test_unknown_revision_is_told(repository: Path, revision: str) -> None:
    with pytest.raises(ConfigurationError, match="has no revision"), worktree(revision, repository):
        pass


def test_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a git repository"), worktree("HEAD", tmp_path):
        pass


def test_no_git_is_told(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="needs git"), worktree("HEAD", repository):
        pass
