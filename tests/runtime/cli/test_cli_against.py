"""``durable replay --against``: what breaks only in the new code, only in the old, in both."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import APP, Cli

Commit = Callable[..., None]
OLD = APP.replace('key="go"', 'key="was"')


def git(*args: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *args], capture_output=True, check=True)


@pytest.fixture
def runs(cli: Cli, app: Path) -> None:
    """One run that waits for an approval, one that waits for an answer, one that sleeps; and a repository."""
    for number in (1, 2):
        cli("run", "app.py:deploy", "-i", f"version=v{number}", "--id", f"d{number}", "--no-ask")
    cli("run", "app.py:hello", "--id", "h1")
    git("init", "-q")
    Path(".gitignore").write_text(".durable\nkeys.py\n")


def commit(write, text: str, name: str = "app.py") -> None:
    write(name, text)
    git("add", ".")
    git("commit", "-qm", "a revision")


@pytest.mark.usefixtures("runs")
def test_same_code_breaks_nothing(cli: Cli, write) -> None:
    commit(write, APP)
    ran = cli("replay", "app.py", "--against", "HEAD")
    assert ran.code == 0
    assert "2 runs of sqlite:///" in ran.out
    assert ran.out.endswith(": 0 break with this code only, 0 with HEAD only, 0 with both\n")
    assert not list(Path(".git").glob("worktrees/*"))


@pytest.mark.usefixtures("runs")
def test_new_breakage_is_told_and_fails(cli: Cli, write) -> None:
    commit(write, APP)
    write("app.py", OLD)
    ran = cli("replay", "app.py", "--against", "HEAD", "--json")
    data = ran.data
    assert (ran.code, data["ok"], data["broken"]) == (1, False, {"only_new": 2, "only_old": 0, "both": 0})
    [finding] = data["only_new"]
    assert (finding["count"], finding["requested"]) == (2, "question('was')")
    assert finding["place"].startswith("app.py:")


@pytest.mark.usefixtures("runs")
def test_mended_breakage_is_told_and_is_no_failure(cli: Cli, write) -> None:
    commit(write, OLD)
    write("app.py", APP)
    ran = cli("replay", "app.py", "--against", "HEAD")
    assert ran.code == 0
    assert "2 runs break with HEAD only, and are mended by this code" in ran.out
    assert "  requested: question('was')" in ran.out
    line = next(number for number, text in enumerate(OLD.splitlines(), 1) if 'key="was"' in text)
    assert f"  at:        app.py:{line} in deploy" in ran.out


@pytest.mark.usefixtures("runs")
def test_what_both_break_is_apart(cli: Cli, write) -> None:
    commit(write, OLD)
    write("app.py", OLD.replace("saying hello", "hello"))
    ran = cli("replay", "app.py", "--against", "HEAD", "--json")
    assert (ran.code, ran.data["broken"]) == (0, {"only_new": 0, "only_old": 0, "both": 2})


@pytest.mark.usefixtures("runs")
def test_files_are_compared_without_a_store(cli: Cli, write) -> None:
    commit(write, APP)
    cli("export", "d1", "-o", "run.json")
    write("app.py", OLD)
    ran = cli("replay", "app.py", "--against", "HEAD", "--file", "run.json", "--json")
    assert (ran.code, ran.data["broken"]["only_new"]) == (1, 1)


@pytest.mark.usefixtures("runs")
def test_modules_that_the_target_imports_are_those_of_the_revision(cli: Cli, write, folder: Path) -> None:
    commit(write, 'KEY = "go"\n', "keynames.py")
    commit(write, "from keynames import KEY\n" + APP.replace('key="go"', "key=KEY"))
    write("keynames.py", 'KEY = "went"\n')
    ran = cli("replay", "app.py", "--against", "HEAD", "--json")
    assert ran.data["broken"] == {"only_new": 2, "only_old": 0, "both": 0}


@pytest.mark.usefixtures("runs")
def test_package_below_src_is_that_of_the_revision(
    cli: Cli, write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "src" / "bakery").mkdir(parents=True)
    write("src/bakery/__init__.py", "")
    commit(write, APP, "src/bakery/flows.py")
    write("src/bakery/flows.py", OLD)
    monkeypatch.syspath_prepend(str(folder / "src"))
    ran = cli("replay", "bakery.flows", "--against", "HEAD", "--json")
    assert ran.data["broken"] == {"only_new": 2, "only_old": 0, "both": 0}


@pytest.mark.usefixtures("app")
def test_encrypted_runs_are_compared_with_keys_that_are_in_no_revision(cli: Cli, write) -> None:
    git("init", "-q")
    Path(".gitignore").write_text(".durable\nkeys.py\n")
    write("keys.py", "from durable.codec import AesGcmCodec\ncodecs = [AesGcmCodec(b'k' * 32)]\n")
    keys = ["--codecs", "keys.py:codecs"]
    cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1", "--no-ask", *keys)
    commit(write, APP)
    write("app.py", OLD)
    ran = cli("replay", "app.py", "--against", "HEAD", "--json", *keys)
    assert ran.data["broken"] == {"only_new": 1, "only_old": 0, "both": 0}


@pytest.mark.usefixtures("runs")
def test_what_cannot_be_compared_is_told(cli: Cli, write) -> None:
    commit(write, "x = 1\n", "other.py")
    ran = cli("replay", "app.py", "--against", "nope")
    assert (ran.code, "has no revision 'nope'" in ran.err) == (2, True)
    git("rm", "-q", "--cached", "app.py")
    git("commit", "-qm", "gone")
    ran = cli("replay", "app.py", "--against", "HEAD")
    assert (ran.code, "there is no file app.py" in ran.err) == (2, True)
    commit(write, "raise SystemExit(4)\n", "ends.py")
    write("ends.py", APP)
    ran = cli("replay", "ends.py", "--against", "HEAD")
    assert (ran.code, "ends the program while it is imported" in ran.err) == (2, True)
    commit(write, "import os\nos._exit(4)\n", "dies.py")
    write("dies.py", APP)
    ran = cli("replay", "dies.py", "--against", "HEAD")
    assert (ran.code, "ended the process that replayed it (exit code 4)" in ran.err) == (2, True)
