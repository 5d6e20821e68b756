"""Which files ``worker --reload`` watches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.cli.reload import snapshot, watched_folders


def test_sources_are_watched_and_the_rest_is_not(tmp_path: Path) -> None:
    for name in ("app.py", "flow.yaml", "sub/more.py", "notes.txt", ".git/x.py", "venv/lib/y.py", "__pycache__/z.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    assert {str(path.relative_to(tmp_path)) for path in snapshot([tmp_path])} == {"app.py", "flow.yaml", "sub/more.py"}


def test_change_and_removal_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("")
    before = snapshot([tmp_path])
    os.utime(file, ns=(1, 1))
    changed = snapshot([tmp_path])
    assert changed != before
    file.unlink()
    assert snapshot([tmp_path]) == {}


def test_folders_are_those_of_the_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "alone.py").write_text("")
    assert watched_folders(["shop.workflows:deploy"]) == [tmp_path / "shop"]
    assert watched_folders(["alone", "alone.py", "./alone.py:x"]) == [tmp_path]
