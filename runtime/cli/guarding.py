"""What ``durable replay`` does and shows: the verdict on many runs, alike breakages told once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from durable.registry import Registry
from durable.replay import Misfit, Recording
from durable.replay.report import BreakageKind, Finding, Group, finding_fields
from durable.timeline.text import Cell
from runtime.cli.exitcode import ExitCode
from runtime.cli.output import count
from runtime.cli.session import Session
from runtime.cli.target import Code
from runtime.replay.file import recordings_in
from runtime.replay.guard import Against, GuardReport, recordings_of, replay_all
from runtime.replay.selection import Selection

_WORDS = {
    BreakageKind.DIVERGENCE: "replay diverges",
    BreakageKind.INPUT: "an input differs",
    BreakageKind.MISFIT: "a recorded value does not fit",
    BreakageKind.MISSING_CODE: "code is missing",
    BreakageKind.FORBIDDEN: "the code does what only a step may do",
    BreakageKind.ABORTED: "the code ends its interpreter",
    BreakageKind.BLOCKED: "the code blocks the event loop",
    BreakageKind.UNREADABLE: "a payload cannot be read",
    BreakageKind.ERROR: "replay fails",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What the flags of the command ask for.

    Attributes:
        targets: the code.
        files: exported runs instead of a store's.
        selection: which runs of the store.
        strict: an input that differs is a breakage.
    """

    targets: tuple[str, ...]
    files: tuple[str, ...] = ()
    selection: Selection = Selection()  # noqa: RUF009 - it is immutable
    strict: bool = True


async def check(session: Session, order: Order, code: Code) -> int:
    """Replay what is ordered, show the verdict, and return the exit code."""
    against = Against(Registry(code.workflows, code.steps), session.load_codecs(), strict=order.strict)
    async with opened(session, order) as (recordings, source):
        report = await replay_all(recordings, against)
    report.seed = order.selection.seed
    show(session, order, report, source)
    return ExitCode.OK if report.ok else ExitCode.FAILED


@asynccontextmanager
async def opened(session: Session, order: Order) -> AsyncIterator[tuple[AsyncIterator[list[Recording]], str]]:
    """The recordings of an order, from files or from the store, and where they come from in words."""
    if order.files:
        yield recordings_in(order.files), count(len(order.files), "file")
        return
    store = session.open_store(read_only=True)
    await store.open()
    try:
        yield recordings_of(store, order.selection), store.url
    finally:
        await store.close()


# -- showing ----------------------------------------------------------------------------------------------


def show(session: Session, order: Order, report: GuardReport, source: str) -> None:
    """Show the verdict."""
    output = session.output
    if session.as_json:
        output.data(verdict(report, source))
        return
    for number, group in enumerate(report.findings, 1):
        for line in group_lines(group, number, len(report.findings)):
            output.line(*line)
        output.line()
    seed = f", seed {report.seed}" if report.seed is not None else ""
    what = f"{count(report.runs, 'run')} with {report.events:,} events of {source}{seed}, in {report.seconds:.1f} s"
    if not report.runs:
        output.note(f"no runs to replay in {source}" + (" match" if order.selection != Selection() else ""))
    elif report.ok:
        output.line(("✓ ", "done"), f"all go on with this code: {what}")
    else:
        output.line(("✗ ", "failed"), f"{report.broken:,} of {report.runs:,} would break: {what}")


def verdict(report: GuardReport, source: str) -> dict[str, Any]:
    """The verdict for programs."""
    return {
        "ok": report.ok,
        "source": source,
        "runs": report.runs,
        "events": report.events,
        "broken": report.broken,
        "seed": report.seed,
        "seconds": round(report.seconds, 3),
        "workflows": report.workflows,
        "findings": [group_fields(group) for group in report.findings],
    }


def group_fields(group: Group) -> dict[str, Any]:
    """A group of alike findings for programs; files are told from the working directory."""
    return {
        "workflow": group.workflow,
        "count": group.count,
        "runs": [{"workflow_id": workflow_id, "event": event} for workflow_id, event in group.runs],
        **finding_fields(from_here(group.first)),
    }


def from_here(finding: Finding) -> Finding:
    """The finding with files told from the working directory."""
    if isinstance(finding, Misfit):
        return finding
    here = os.getcwd() + os.sep  # noqa: PTH109 - a prefix of texts
    texts = {name: getattr(finding, name).replace(here, "") for name in ("where", "cause", "message")}
    return replace(finding, **texts)


def group_lines(group: Group, number: int, total: int) -> Iterator[list[Cell]]:
    """A group of alike findings for people."""
    finding = from_here(group.first)
    runs = f"{group.count:,} run{'s' if group.count != 1 else ''} of {group.workflow}"
    if isinstance(finding, Misfit):
        yield [(f"{number}/{total}  ", "dim"), (f"{runs}: a recorded value does not fit", "failed")]
        yield from _facts(
            ("value", f"{finding.subject}{f', {finding.path}' if finding.path else ''}"),
            ("type", finding.type),
            ("problem", finding.problem),
        )
    else:
        yield [(f"{number}/{total}  ", "dim"), (f"{runs}: {_WORDS[finding.kind]}", "failed")]
        yield from _facts(
            ("recorded", f"{finding.recorded}  (event {finding.event})" if finding.event else finding.recorded),
            ("requested", finding.requested),
            ("at", finding.where),
            ("cause", finding.cause),
            ("remedy", finding.remedy),
        )
    more = f" and {group.count - len(group.runs):,} more" if group.count > len(group.runs) else ""
    yield from _facts(("runs", ", ".join(f"{one} (event {event})" for one, event in group.runs) + more))


def _facts(*facts: tuple[str, str]) -> Iterator[list[Cell]]:
    for label, text in facts:
        if text:
            yield [(f"  {label + ':':<11}", "dim"), text]
