"""Killing the process at its commits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from durable.errors import ConfigurationError
from runtime.store import fault
from runtime.store.row import RunFilter
from runtime.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

SCRIPT = Path(__file__).with_name("fault_process.py")


def run(path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(path)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)


async def started(path: Path) -> str:
    store = SqliteStore(path)
    await store.open()
    runs, _ = await store.list_runs(RunFilter(), 10)
    await store.close()
    return "".join(sorted(row.workflow_id for row in runs))


@pytest.mark.parametrize(
    ("setting", "acknowledged", "durable"),
    [
        ("commit:before:1", "", ""),
        ("commit:after:1", "", "a"),
        ("commit:before:3", "ab", "ab"),
        ("commit:after:3", "ab", "abc"),
    ],
)
async def test_process_dies_at_the_commit_that_was_named(path, setting, acknowledged, durable):
    process = run(path, DURABLE_FAULT=setting)
    assert process.returncode == -signal.SIGKILL
    assert process.stdout == acknowledged
    assert await started(path) == durable


async def test_trace_counts_commits_that_changed_something(path, tmp_path):
    process = run(path, DURABLE_FAULT_TRACE=str(tmp_path / "trace"))
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "trace").read_text() == "commit:before 5\ncommit:after 5\n"


async def test_fault_beyond_the_last_commit_does_nothing(path):
    process = run(path, DURABLE_FAULT="commit:before:6")
    assert (process.returncode, process.stdout) == (0, "abcde")


def test_fault_is_not_armed_by_default():
    assert not fault.is_armed


@pytest.mark.parametrize("setting", ["commit", "commit:before", "commit:before:0", "commit:during:1", "commit:after:x"])
def test_setting_that_is_not_understood_is_refused(setting):
    with pytest.raises(ConfigurationError, match="expected DURABLE_FAULT to be like"):
        fault._parse(setting)


def test_reach_counts_and_kills_at_the_occurrence(monkeypatch, tmp_path):
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    monkeypatch.setattr(fault, "_fault", fault._parse("commit:after:2"))
    monkeypatch.setattr(fault, "_trace", str(tmp_path / "trace"))
    monkeypatch.setattr(fault, "_passed", {})
    for point in ("commit:before", "commit:after", "commit:after", "commit:after"):
        fault.reach(point)
    assert killed == [(os.getpid(), signal.SIGKILL)]
    assert (tmp_path / "trace").read_text() == "commit:before 1\ncommit:after 3\n"
