"""What an exploration has found: findings, advice, coverage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from durable.testing.explorer.coverage import Coverage


class FindingKind(StrEnum):
    """What is wrong."""

    INVARIANT = "invariant"
    OUTCOME = "outcome"
    HISTORY = "history"
    STUCK = "stuck"
    HANG = "hang"
    ROLLBACK = "rollback"
    CANCELLATION = "cancellation"


@dataclass(slots=True)
class Finding:
    """Something that goes wrong under a schedule.

    Attributes:
        kind: what.
        schedule: what was disturbed, in words.
        difference: what differed, or what was violated.
        line: ``file:line`` of the await at which the workflow was disturbed; '' if it waited nowhere.
        seed: hand it to ``explore(..., seed=...)`` to see it again.
        timeline: of the run.
        count: how many schedules showed the same.
    """

    kind: FindingKind
    schedule: str
    difference: str
    line: str
    seed: str
    timeline: str
    count: int = 1

    def __str__(self) -> str:
        more = f" (and under {self.count - 1} more schedules)" if self.count > 1 else ""
        where = f"\n  at:        {self.line}" if self.line else ""
        difference = self.difference.replace("\n", "\n             ")
        timeline = "\n".join(f"    {line}" for line in self.timeline.splitlines())
        return (
            f"{self.kind}: {self.schedule}{more}\n  what:      {difference}{where}\n"
            f"  reproduce: explore(..., seed={self.seed!r})\n{timeline}"
        )


class ExplorationError(AssertionError):
    """An exploration has findings; the message is the report."""


@dataclass(slots=True)
class Report:
    """What an exploration has found.

    Attributes:
        workflow: its name.
        findings: what goes wrong.
        in_doubt: schedules that ended a step with ``StepInDoubtError``, as an at-most-once step promises.
        advice: what is not wrong here and worth a look.
        coverage: the awaits of the workflow.
        tried: how many schedules of each kind were run.
        left_out: how many of each kind were not, for ``max_schedules``.
        seconds: how long it took.
    """

    workflow: str
    coverage: Coverage
    findings: list[Finding] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        return not self.findings

    def raise_for_findings(self) -> None:
        """Raise if there are findings.

        Raises:
            ExplorationError: with the report.
        """
        __tracebackhide__ = True
        if self.findings:
            raise ExplorationError(str(self))

    def add(self, finding: Finding) -> None:
        """Add a finding, or count one that is known."""
        for known in self.findings:
            if (known.kind, known.difference) == (finding.kind, finding.difference):
                known.count += 1
                return
        self.findings.append(finding)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.tried.items())
        lines = [f"{self.workflow}: {self.tried.total()} schedules ({kinds}) in {self.seconds:.2f} s"]
        if self.left_out:
            left = ", ".join(f"{count} {kind}" for kind, count in self.left_out.items())
            lines.append(f"left out: {left}; a larger max_schedules tries them")
        lines.append(str(self.coverage))
        lines += [f"in doubt, as promised: {text}" for text in self.in_doubt]
        lines += [f"advice: {text}" for text in self.advice]
        lines.append("no findings" if self.ok else f"{len(self.findings)} findings")
        return "\n".join([*lines, *(f"\n{finding}" for finding in self.findings)])
