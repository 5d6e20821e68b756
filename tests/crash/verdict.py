"""What a run that was killed on the way may differ in from one that nobody disturbed: nearly nothing."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import ndiff
from itertools import groupby
from pathlib import Path
from typing import Any

from crash.ledger import Ledger

AT_MOST_ONCE = frozenset({"pay", "pay_far_away"})
"""Steps that may end in doubt after a crash, instead of being done again."""

REPEATABLE = frozenset({"CancelRequested", "RunPaused", "RunResumed"})
"""Requests without an id: who is killed before the acknowledgement cannot but ask again."""


class Record:
    """What one trial left: the report of its last life, and its ledger."""

    def __init__(self, folder: Path) -> None:
        self.report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        self.lines = Ledger(folder / "ledger.jsonl").lines()
        self.effects = [line for line in self.lines if line["kind"] == "effect"]
        self.replies = {line["label"]: line["reply"] for line in self.lines if line["kind"] == "said"}
        self.outcome: str = self.report["outcome"]
        self.doubts = self.outcome.count("in doubt")

    def runs(self) -> list[dict[str, Any]]:
        """The runs, with doubts resolved and without what legitimately varies in a history."""
        return [{**run, "history": list(_events(run["history"]))} for run in self.report["runs"]]


def _events(history: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Kind, name and command of the events, where what ended side by side is in the order of the commands."""
    resolved = [
        ["StepCompleted" if kind == "StepFailed" and name in AT_MOST_ONCE else kind, name, command]
        for kind, name, command in history
    ]
    for (kind, _), events in groupby(resolved, key=lambda event: (event[0], event[1])):
        same = sorted(events, key=lambda event: event[2] or 0)
        yield from same[:1] if kind in REPEATABLE else same


def differences(undisturbed: Record, folder: Path, ends: Sequence[int]) -> Iterator[str]:
    """What is wrong with a trial, in words; nothing, if all is well.

    Args:
        undisturbed: how it should be.
        folder: of the trial.
        ends: how its lives ended.
    """
    kills = ends[:-1]
    if ends[-1] != 0 or any(end != -signal.SIGKILL for end in kills):
        yield f"lives ended with {ends}"
        return
    killed = Record(folder)
    for key in ("left", "rows"):
        if killed.report[key] != undisturbed.report[key]:
            yield f"{key}: expected {undisturbed.report[key]}, got {killed.report[key]}"
    if killed.outcome.replace("in doubt", "paid") != undisturbed.outcome:
        yield f"outcome: expected {undisturbed.outcome}, got {killed.outcome}"
    yield from _wrong_runs(undisturbed.runs(), killed.runs())
    if killed.doubts > len(kills):
        yield f"{killed.doubts} steps are in doubt after {len(kills)} kills"
    for label, reply in undisturbed.replies.items():
        # A request that got through, unacknowledged, may find the run gone when it is said again.
        if killed.replies.get(label) not in (reply, "'refused'"):
            yield f"the reply to {label!r}: expected {reply}, got {killed.replies.get(label)}"
    yield from _wrong_effects(undisturbed, killed, len(kills))


def _wrong_runs(expected: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]) -> Iterator[str]:
    if len(found) != len(expected):
        yield f"expected {len(expected)} runs, got {[run['workflow'] for run in found]}"
        return
    for number, (want, got) in enumerate(zip(expected, found, strict=True)):
        for key in want:
            if want[key] == got[key]:
                continue
            if key == "history":
                lines = ndiff([str(event) for event in want[key]], [str(event) for event in got[key]])
                yield f"run {number} ({want['workflow']}), history: {[line for line in lines if line[0] in '+-']}"
            else:
                yield f"run {number} ({want['workflow']}), {key}: expected {want[key]}, got {got[key]}"


def _wrong_effects(undisturbed: Record, killed: Record, kills: int) -> Iterator[str]:
    expected, found = _counts(undisturbed), _counts(killed)
    if extra := found.keys() - expected.keys():
        yield f"effects that should not be: {sorted(extra)}"
    missing = [label for label, step, _ in expected.keys() - found.keys() if step not in AT_MOST_ONCE]
    if missing:
        yield f"effects that are missing: {sorted(missing)}"
    unpaid = [label for label, step, _ in expected.keys() - found.keys() if step in AT_MOST_ONCE]
    if len(unpaid) > killed.doubts:
        yield f"never done, and not in doubt: {sorted(unpaid)}"
    for (label, step, attempt), count in found.items():
        limit = 1 if step in AT_MOST_ONCE else expected[label, step, attempt] + kills
        if count > limit:
            yield f"{label!r}, attempt {attempt}, was done {count} times"
    keys: dict[str, set[str]] = {}
    for effect in killed.effects:
        keys.setdefault(effect["label"], set()).add(effect["key"])
    for label, own in keys.items():
        if len(own) > 1 and len({effect["run_id"] for effect in killed.effects if effect["label"] == label}) == 1:
            yield f"{label!r} was done under several idempotency keys: {sorted(own)}"
    done: set[tuple[str, int]] = set()
    for line in killed.lines:
        if line["kind"] == "life":
            done = {(run_id, command) for run_id, command in line["done"]}
        elif line["kind"] == "effect" and (line["run_id"], line["command"]) in done:
            yield f"{line['label']!r} was done again although its outcome was on disk"


def _counts(record: Record) -> Counter[tuple[str, str, int]]:
    return Counter((effect["label"], effect["step"], effect["attempt"]) for effect in record.effects)
