"""``purge``, ``backup``, ``version``, ``init``."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from cli.command import Cli


class Terminal(io.StringIO):
    """A standard input that a person types into."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("app")
def test_purge_deletes_what_ended_long_enough_ago(cli: Cli) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    cli("start", "app.py:naps", "--id", "n1")
    assert cli("purge", "--older-than", "1h").out.startswith("deleted 0 runs from sqlite:///")
    assert cli("purge", "--older-than", "0s", "--dry-run", "--json").data["matched"] == 1
    assert cli("show", "h1").code == 0
    assert cli("purge", "--older-than", "0s", "--yes", "--json").data["deleted"] == 1
    assert cli("show", "h1").code == 3
    assert cli("show", "n1").code == 0
    assert cli("purge", "--older-than", "long").code == 2


@pytest.mark.usefixtures("app")
def test_purge_of_a_number_without_a_unit_is_refused(cli: Cli) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    ran = cli("purge", "--older-than", "30", "--yes")
    assert ran.code == 2
    assert "30d, 12h, 1h30m, 90s" in ran.err
    assert cli("show", "h1").code == 0


@pytest.mark.usefixtures("app")
def test_purge_without_a_terminal_needs_yes_and_tells_the_count(cli: Cli) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    for flags in ([], ["--json"]):
        ran = cli("purge", "--older-than", "0s", *flags)
        assert ran.code == 2
        assert "delete 1 run without being asked, add --yes" in ran.err
    assert cli("show", "h1").code == 0


@pytest.mark.parametrize(("said", "code", "left"), [("n\n", 2, 0), ("y\n", 0, 3)])
@pytest.mark.usefixtures("app")
def test_purge_asks_on_a_terminal_after_the_count(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, said: str, code: int, left: int
) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    ran = cli("purge", "--older-than", "0s")
    assert ran.code == code
    assert "1 run ended more than 0s ago" in ran.err
    assert "delete 1 run?" in ran.err
    assert cli("show", "h1").code == left


@pytest.mark.usefixtures("app")
def test_backup_is_a_store_with_the_same_runs(cli: Cli, folder: Path) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    assert cli("backup", "copy.db").code == 0
    assert cli("show", "h1", "--store", f"sqlite:///{folder}/copy.db").code == 0
    ran = cli("backup", "copy.db")
    assert ran.code == 7
    assert "copy.db" in ran.err


def test_backup_of_nothing_is_refused(cli: Cli) -> None:
    ran = cli("backup", "copy.db")
    assert ran.code == 7
    assert "there is no store" in ran.err


def test_version_tells_what_behaviour_depends_on(cli: Cli) -> None:
    assert set(cli("version", "--json").data) >= {"durable", "kernel", "python", "sqlite", "anyio", "pydantic"}
    assert cli("version").out.startswith("durable ")
    assert cli("version", "--store", "sqlite:////tmp/x.db", "--json").data["store"] == "sqlite:////tmp/x.db"
    assert cli("--version").out.startswith("durable ")


@pytest.mark.usefixtures("app")
def test_store_that_cannot_be_written_is_looked_at(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:///{folder}/s.db"
    cli("run", "app.py:hello", "--id", "h1", "--store", store)
    monkeypatch.setattr("runtime.store.sqlite.readonly.can_write", lambda _: False)
    for command in (["list"], ["show", "h1"], ["history", "h1", "--verify"], ["logs", "h1"], ["inbox"]):
        assert cli(*command, "--store", store).code == 0
    assert cli("backup", "copy.db", "--store", store).code == 0
    assert "h1" in cli("list", "--store", "sqlite:///copy.db").out
    assert cli("start", "app.py:hello", "--store", store).code == 0  # what writes says itself that it cannot


def test_init_writes_a_project_that_works(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = cli("init", "shop")
    assert ran.code == 0
    assert "durable run app.py" in ran.out
    monkeypatch.chdir(folder / "shop")
    assert cli("run", "app.py", "--id", "r1").code == 4
    assert cli("approve", "r1").code == 0
    assert cli("run", "app.py", "--id", "r1").out.splitlines()[-1] == "artifact-v1 is live"
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout


def test_init_never_overwrites(cli: Cli, folder: Path) -> None:
    (folder / "app.py").write_text("mine")
    ran = cli("init")
    assert ran.code == 2
    assert "app.py" in ran.err
    assert [path.name for path in folder.iterdir()] == ["app.py"]
    assert (folder / "app.py").read_text() == "mine"


def test_init_says_what_it_wrote(cli: Cli) -> None:
    assert cli("init", "shop", "--json").data["files"] == ["app.py", "test_app.py", "pyproject.toml", ".gitignore"]


def test_init_writes_the_store_that_is_given(cli: Cli, folder: Path) -> None:
    cli("init", "--store", "sqlite:///runs.db")
    assert cli("list", "--json").data["store"] == f"sqlite:///{folder}/runs.db"


def test_new_project_has_a_store_of_its_own(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pyproject.toml").write_text('[tool.durable]\nstore = "sqlite:///ours.db"\n')
    assert cli("init", "shop").code == 0
    monkeypatch.setenv("DURABLE_STORE", "sqlite:////elsewhere/theirs.db")
    assert cli("init", "office").code == 0
    for name in ("shop", "office"):
        text = (folder / name / "pyproject.toml").read_text()
        assert 'store = "sqlite:///.durable/durable.db"' in text


def test_init_where_nothing_can_be_written_says_so(cli: Cli, folder: Path) -> None:
    (folder / "file").write_text("")
    assert cli("init", "file/shop").code == 2


def test_bench_measures_beside_the_store(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[object, ...]] = []
    monkeypatch.setattr("runtime.bench.main", lambda *args: called.append(args))
    assert cli("bench", "--store", "sqlite:///x.db", "--json", "--sleepers", "7").code == 0
    assert called == [("sqlite:///x.db", True, 7)]
