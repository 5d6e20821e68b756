"""``purge``, ``backup``, ``version``, ``init``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.command import Cli


@pytest.mark.usefixtures("app")
def test_purge_deletes_what_ended_long_enough_ago(cli: Cli) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    cli("start", "app.py:naps", "--id", "n1")
    assert cli("purge", "--older-than", "1h").out.startswith("deleted 0 runs from sqlite:///")
    assert cli("purge", "--older-than", "0s", "--dry-run", "--json").data["matched"] == 1
    assert cli("show", "h1").code == 0
    assert cli("purge", "--older-than", "0s", "--json").data["deleted"] == 1
    assert cli("show", "h1").code == 3
    assert cli("show", "n1").code == 0
    assert cli("purge", "--older-than", "long").code == 2


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


def test_init_where_nothing_can_be_written_says_so(cli: Cli, folder: Path) -> None:
    (folder / "file").write_text("")
    assert cli("init", "file/shop").code == 2


def test_bench_measures_beside_the_store(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[object, ...]] = []
    monkeypatch.setattr("runtime.bench.main", lambda *args: called.append(args))
    assert cli("bench", "--store", "sqlite:///x.db", "--json").code == 0
    assert called == [("sqlite:///x.db", True)]
