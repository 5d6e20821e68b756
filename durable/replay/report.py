"""What a replay finds: what would break a run, which recorded values no longer fit, and alike findings of many runs together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from durable.errors import NondeterminismError

SHOWN_IDS: Final = 5
"""So many ids of runs are kept of each group of findings."""

_TIME: Final = re.compile(r" until \S+$")
"""The end of a timer's description, which is another one in each run."""


class BreakageKind(StrEnum):
    """Why a run would not go on with this code."""

    DIVERGENCE = "divergence"
    """It asks for something else than history records."""
    INPUT = "input"
    """It asks for the same with another input. A worker goes on and warns; strict replay does not."""
    MISFIT = "misfit"
    """A recorded value does not fit today's annotation."""
    MISSING_CODE = "missing_code"
    """The workflow, a compensation or an exception class is not there."""
    FORBIDDEN = "forbidden"
    """It does what only steps may do."""
    ABORTED = "aborted"
    """It raises what ends an interpreter."""
    BLOCKED = "blocked"
    """It keeps the event loop busy."""
    UNREADABLE = "unreadable"
    """A payload cannot be opened with the codecs and keys at hand, or history is damaged."""
    ERROR = "error"
    """Replay failed in a way that is none of these."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """The place where replay and history part, both sides named.

    Attributes:
        kind: of what sort.
        event: number of the recorded event.
        recorded: what history holds there, in words.
        requested: what the code asks for instead, in words.
        where: ``file:line in function`` of the code, or '' where there is none.
        cause: why, as far as it can be told.
        remedy: what to do about it.
        message: all of it, as a worker would say it.
        code: of the error that a worker would raise.
    """

    kind: BreakageKind
    event: int
    recorded: str
    requested: str
    where: str
    cause: str
    remedy: str
    message: str
    code: str = NondeterminismError.code

    @property
    def place(self) -> str:
        """``file:line``, without the function."""
        return self.where.partition(" in ")[0]

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for breakages with the same line and cause, in whatever run."""
        return (self.kind, self.where, _TIME.sub("", self.recorded), _TIME.sub("", self.requested), self.code)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A recorded value that today's annotation does not take.

    Attributes:
        event: number of the event that holds it; 0: it waits to be applied.
        kind: of that event.
        subject: whose value it is, ``the result of step 'charge'``.
        path: where in the value, ``items[3].price``; '' for the value as a whole.
        type: the annotation.
        problem: what is wrong, in words.
    """

    event: int
    kind: str
    subject: str
    path: str
    type: str
    problem: str

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for misfits of the same field, in whatever run and at whatever index."""
        return ("misfit", self.kind, self.subject, re.sub(r"\[\d+\]", "[]", self.path), self.type)


Finding = Breakage | Misfit


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What came of the replay of one run.

    Attributes:
        workflow, workflow_id, run_id: which run.
        events: how many events were held against the code, those that were not reached included.
        stop: what would make the run stuck on a worker; None: nothing.
        differences: inputs that differ from the recorded ones, in order (rule K6).
        misfits: recorded values that no longer fit, in order.
        strict: differences count as breakages.
    """

    workflow: str
    workflow_id: str
    run_id: str
    events: int
    stop: Breakage | None = None
    differences: tuple[Breakage, ...] = ()
    misfits: tuple[Misfit, ...] = ()
    strict: bool = True

    @property
    def ok(self) -> bool:
        """Whether the run goes on with this code as with its own."""
        return self.stop is None and not self.misfits and not (self.strict and self.differences)

    @property
    def divergence(self) -> Breakage | None:
        """The first place where replay and history part."""
        first = self.differences[0] if self.strict and self.differences else None
        if first is not None and (self.stop is None or first.event <= self.stop.event):
            return first
        return self.stop

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong, the first divergence first. Of inputs that differ only the first counts: the others follow."""
        first = self.divergence
        more = self.stop if self.stop is not first else None
        return tuple(found for found in (first, more, *self.misfits) if found is not None)

    def raise_for_breakage(self) -> None:
        """Raise what a worker would, if replay and history part.

        Raises:
            NondeterminismError: naming both sides.
        """
        found = self.divergence
        if found is not None:
            raise NondeterminismError(
                found.message, event=found.event, recorded=found.recorded, requested=found.requested, where=found.where
            )
        if self.misfits:
            misfit = self.misfits[0]
            raise NondeterminismError(f"event {misfit.event}: {misfit.subject}: {misfit.problem}", event=misfit.event)


@dataclass(slots=True)
class Group:
    """Alike findings of one workflow.

    Attributes:
        workflow: of whose runs.
        first: the finding in the first run, which stands for all.
        count: of runs.
        runs: workflow id and event of the first few runs.
    """

    workflow: str
    first: Finding
    count: int = 0
    runs: list[tuple[str, int]] = field(default_factory=list)

    def add(self, workflow_id: str, event: int) -> None:
        """Count a run."""
        self.count += 1
        if len(self.runs) < SHOWN_IDS:
            self.runs.append((workflow_id, event))


class Groups:
    """Findings of many runs, alike ones together, in the order in which each was first met."""

    def __init__(self, reports: Iterable[ReplayReport] = ()) -> None:
        self._groups: dict[tuple[str, ...], Group] = {}
        for report in reports:
            self.add(report)

    def add(self, report: ReplayReport) -> None:
        """Take the findings of a run, each sort once."""
        findings: dict[tuple[str, ...], Finding] = {}
        for finding in report.findings:
            findings.setdefault(finding.key, finding)
        for key, finding in findings.items():
            group = self._groups.setdefault((report.workflow, *key), Group(report.workflow, finding))
            group.add(report.workflow_id, finding.event)

    def __iter__(self) -> Iterator[Group]:
        return iter(sorted(self._groups.values(), key=lambda group: -group.count))

    def __len__(self) -> int:
        return len(self._groups)


def finding_fields(finding: Finding) -> dict[str, Any]:
    """A finding for programs."""
    fields: dict[str, Any] = {name: getattr(finding, name) for name in type(finding).__dataclass_fields__}
    if isinstance(finding, Misfit):
        return {"finding": "misfit", **fields}
    return {"finding": "breakage", **fields, "place": finding.place}
