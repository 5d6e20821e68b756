"""The command in this process: its arguments in, what it printed and its exit code out."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from cli.command import APP, Cli, Ran, forget
from runtime.cli.app import run_app


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], folder: Path) -> Cli:
    """Run the command in an empty directory."""

    def call(*args: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_app(args)
        printed = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int), code
        return Ran(code, printed.out, printed.err)

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; what is loaded from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in ("DURABLE_STORE", "DURABLE_ACTOR", "DURABLE_CODECS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    path, root = list(sys.path), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    yield tmp_path
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)
    gc.unfreeze()
    forget(tmp_path)
    sys.path[:] = path
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def app(folder: Path) -> Path:
    """``app.py`` in the working directory."""
    file = folder / "app.py"
    file.write_text(APP)
    return file


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], Path]:
    """Write, or write again, a Python file that the next command loads anew."""

    def write(name: str, text: str) -> Path:
        forget(folder)
        file = folder / name
        file.write_text(dedent(text))
        return file

    return write
