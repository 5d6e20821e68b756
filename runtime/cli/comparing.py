"""``durable replay --against``: two versions of the code on the same histories."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from durable.registry import Registry
from durable.replay import Recording, ReplayReport
from durable.replay.report import Groups
from runtime.cli.exitcode import ExitCode
from runtime.cli.guarding import Order, group_fields, group_lines, opened
from runtime.cli.output import count
from runtime.cli.session import Session
from runtime.cli.target import load_all
from runtime.replay.comparison import Comparison, compare, replay_elsewhere
from runtime.replay.guard import Against, GuardReport, replay_all
from runtime.replay.worktree import worktree

_TITLES = {
    "only_new": "break with this code only",
    "both": "break with both",
    "only_old": "break with {} only, and are mended by this code",
}


def compare_revisions(session: Session, order: Order, revision: str) -> int:
    """Replay with this code and with a revision's, show the difference, and return the exit code: 1 if this code breaks what the
    revision's does not."""
    location = order.targets[0].partition(":")[0]
    start = Path(location).resolve().parent if location.endswith(".py") else Path.cwd()
    with worktree(revision, start if start.is_dir() else Path.cwd()) as tree:
        code = load_all(list(order.targets))
        against = Against(Registry(code.workflows, code.steps), session.load_codecs(), strict=order.strict)
        new, limits, report, source = asyncio.run(_replay(session, order, against))
        old = replay_elsewhere(
            tree,
            order.targets,
            store=None if order.files else source,
            files=order.files,
            codecs=session.codecs,
            strict=order.strict,
            limits=limits,
        )
    comparison = compare(new, old, report.runs)
    _show(session, comparison, revision, source, order.selection.seed)
    return ExitCode.FAILED if comparison.broken["only_new"] else ExitCode.OK


async def _replay(
    session: Session, order: Order, against: Against
) -> tuple[dict[str, ReplayReport], dict[str, int], GuardReport, str]:
    """The broken runs by run id, how far each history was looked at, all together, and where they come from."""
    broken: dict[str, ReplayReport] = {}
    limits: dict[str, int] = {}

    def keep(report: ReplayReport, recording: Recording) -> None:
        limits[report.run_id] = recording.events[-1].seq if recording.events else 0
        if not report.ok:
            broken[report.run_id] = report

    async with opened(session, order) as (recordings, source):
        total = await replay_all(recordings, against, keep)
    return broken, limits, total, source


def _show(session: Session, comparison: Comparison, revision: str, source: str, seed: int | None) -> None:
    output = session.output
    if session.as_json:
        output.data(_fields(comparison, revision, source, seed))
        return
    for name, title in _TITLES.items():
        groups: Groups = getattr(comparison, name)
        if not len(groups):
            continue
        output.line((f"{count(comparison.broken[name], 'run')} {title.format(revision)}", "strong"))
        for number, group in enumerate(groups, 1):
            for line in group_lines(group, number, len(groups)):
                output.line(*line)
            output.line()
    broken = comparison.broken
    chosen = f", seed {seed}" if seed is not None else ""
    mark = ("✗ ", "failed") if broken["only_new"] else ("✓ ", "done")
    output.line(
        mark,
        f"{count(comparison.runs, 'run')} of {source}{chosen}: {broken['only_new']} break with this code only, {broken['only_old']} "
        f"with {revision} only, {broken['both']} with both",
    )


def _fields(comparison: Comparison, revision: str, source: str, seed: int | None) -> dict[str, Any]:
    return {
        "ok": not comparison.broken["only_new"],
        "source": source,
        "against": revision,
        "runs": comparison.runs,
        "seed": seed,
        "broken": comparison.broken,
        **{name: [group_fields(group) for group in getattr(comparison, name)] for name in _TITLES},
    }
