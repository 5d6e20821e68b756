"""The same histories against two versions of the code: what breaks only in the new one, only in the old one, in both.

The new code is that of this process; the old one is that of another revision, replayed by a process of its own with that
revision's files first on its path. Both look at each history up to the same event, so what workers do meanwhile makes no
difference between them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from durable.errors import ConfigurationError
from durable.replay.report import Breakage, BreakageKind, Groups, Misfit, ReplayReport
from runtime.replay.worktree import Worktree

_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from runtime.cli.elsewhere import main; main(sys.argv[2])"


@dataclass(slots=True)
class Comparison:
    """What became of runs with two versions of the code.

    Attributes:
        runs: how many were replayed with both.
        only_new, only_old, both: findings of the runs that break with the new code alone, with the old code alone, with either
            (these are told as the new code breaks them).
        broken: how many runs each of these are.
    """

    runs: int
    only_new: Groups = field(default_factory=Groups)
    only_old: Groups = field(default_factory=Groups)
    both: Groups = field(default_factory=Groups)
    broken: dict[str, int] = field(default_factory=lambda: {"only_new": 0, "only_old": 0, "both": 0})

    def add(self, new: ReplayReport | None, old: ReplayReport | None) -> None:
        """Take the reports of a run that at least one of the versions breaks."""
        name = "both" if new is not None and old is not None else "only_new" if new is not None else "only_old"
        report = new if new is not None else old
        assert report is not None
        groups: Groups = getattr(self, name)
        groups.add(report)
        self.broken[name] += 1


def compare(new: Mapping[str, ReplayReport], old: Mapping[str, ReplayReport], runs: int) -> Comparison:
    """Compare the reports of broken runs, by run id."""
    comparison = Comparison(runs)
    for run_id in dict.fromkeys((*new, *old)):
        comparison.add(new.get(run_id), old.get(run_id))
    return comparison


def replay_elsewhere(
    tree: Worktree,
    targets: Sequence[str],
    *,
    store: str | None,
    files: Sequence[str],
    codecs: str | None,
    strict: bool,
    limits: Mapping[str, int],
) -> dict[str, ReplayReport]:
    """The reports of the runs that the revision's code breaks, by run id.

    Args:
        targets: as given, relative to the working directory.
        store: URL of the store, or None where ``files`` are given.
        limits: by run id, the last event to look at.

    Raises:
        ConfigurationError: the revision lacks a target, or cannot be loaded.
    """
    here = Path.cwd().resolve()
    folder = tree.counterpart(here) or tree.root
    reply = tree.root.parent / "reply.json"
    request = tree.root.parent / "request.json"
    content = {
        "targets": [_there(tree, target) for target in targets],
        "path": _path(tree, folder),
        "tree": str(tree.root),
        "repository": str(tree.repository),
        "store": store,
        "files": [str(Path(file).resolve()) for file in files],
        "codecs": None if codecs is None else _codecs_there(tree, codecs, folder),
        "strict": strict,
        "limits": dict(limits),
        "reply": str(reply),
    }
    request.write_text(json.dumps(content), encoding="utf-8")
    home = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(  # noqa: S603 - this Python, with a program of our own
        [sys.executable, "-P", "-c", _PROGRAM, home, str(request)],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
    )
    try:
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if not reply.exists():
        raise ConfigurationError(
            f"the code of revision {tree.commit[:12]} ended the process that replayed it (exit code {process.returncode})"
        )
    answer = json.loads(reply.read_text(encoding="utf-8"))
    if "error" in answer:
        raise ConfigurationError(f"with the code of revision {tree.commit[:12]}: {answer['error']}")
    return {fields["run_id"]: report_from(fields) for fields in answer["reports"]}


def _has_descriptor(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _there(tree: Worktree, target: str) -> str:
    """A target in the revision: an absolute path is another one there, everything else is found from the working directory."""
    location, colon, name = target.partition(":")
    if not Path(location).is_absolute():
        return target
    return f"{tree.counterpart(Path(location).resolve()) or location}{colon}{name}"


def _codecs_there(tree: Worktree, codecs: str, folder: Path) -> str:
    """Where the codecs are: keys are seldom in a repository, so a file that the revision has not is that of the working tree."""
    location, colon, name = codecs.partition(":")
    if location.endswith(".py") and not (folder / location).exists():
        return f"{Path(location).resolve()}{colon}{name}"
    return codecs if not Path(location).is_absolute() else _there(tree, codecs)


def _path(tree: Worktree, folder: Path) -> list[str]:
    """Where the revision's code is imported from: its directories first, and what lies outside of the repository."""
    own: list[str] = [str(folder)]
    others: list[str] = []
    for entry in sys.path:
        there = tree.counterpart(Path(entry or ".").resolve())
        if there is not None:
            own.append(str(there))
        else:
            others.append(entry)
    return list(dict.fromkeys([*own, *others]))


# -- between the processes --------------------------------------------------------------------------------


def report_fields(report: ReplayReport) -> dict[str, Any]:
    """A report as JSON-compatible fields."""
    return asdict(report)


def report_from(fields: dict[str, Any]) -> ReplayReport:
    """The report of ``report_fields``."""
    stop = fields["stop"]
    return ReplayReport(
        **{
            **fields,
            "stop": None if stop is None else _breakage(stop),
            "differences": tuple(_breakage(one) for one in fields["differences"]),
            "misfits": tuple(Misfit(**one) for one in fields["misfits"]),
        }
    )


def _breakage(fields: dict[str, Any]) -> Breakage:
    return Breakage(**{**fields, "kind": BreakageKind(fields["kind"])})
