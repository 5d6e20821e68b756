"""``durable bench`` runs for real, with little of everything, and prints every row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.bench import guarding, main, process, replay, testing, throughput

ROWS = [
    "durable steps/s, 3 runs at once",
    "one step after another in one run",
    "starts acknowledged on disk, 100 callers",
    "replay",
    "a run of 2,000 events is back in",
    "cost of step 2,000 against step 500",
    "20 runs of 50 events are replayed in",
    "tests/s in virtual time: a month of sleep, an hour of retries",
    "signal to reaction, idle worker, in process, p50",
    "signal to reaction, worker in another process, p50",
    "7 sleeping runs: disk of each",
    "7 sleeping runs: memory of a fresh worker",
    "7 sleeping runs: first due timer after the start",
    "import durable",
    "durable --help, whole process",
    "durable run of hello, whole process",
]
WITH_RAW_LIMIT = ROWS[:3]


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RUNS": 3, "STEPS": 4, "SEQUENTIAL": 5, "STARTS": 30, "SIGNALS": 4}.items():
        monkeypatch.setattr(throughput, name, value)
    monkeypatch.setattr(replay, "EVENTS", 2_000)
    monkeypatch.setattr(guarding, "RUNS", 20)
    monkeypatch.setattr(testing, "TESTS", 2)
    monkeypatch.setattr(process, "ROUNDS", 1)
    monkeypatch.setattr("runtime.bench.report.tune_interpreter", lambda: None)


@pytest.mark.usefixtures("little")
def test_bench_prints_every_row_with_its_ratio_to_the_raw_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(f"sqlite:///{tmp_path / 'app.db'}", as_json=True, sleepers=7)
    rows = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in rows] == ROWS
    assert [row["what"] for row in rows if row["raw"] is not None] == WITH_RAW_LIMIT
    for row in rows:
        assert row["budget"]
        assert row["value"] >= 0 or row["what"] == "import durable"  # less the start of Python, which varies
        if row["raw"] is not None:
            assert row["ratio"] == pytest.approx(row["value"] / row["raw"])
    assert list(tmp_path.iterdir()) == [], "what was measured with is gone"
