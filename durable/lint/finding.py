"""What the linter reports: findings, and the report of a whole check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One mistake at one place.

    Attributes:
        path: the file, from the working directory where it lies below it.
        line, column: where it begins, counted from 1.
        end_line, end_column: just behind its last character.
        code: which check found it, like ``DURL101``.
        message: what is wrong, and why.
        remedy: what to write instead, a clause.
        workflow: the workflow that runs the code; empty where no workflow is concerned.
        via: how the workflow reaches the code: names of functions, the workflow's first.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    code: str
    message: str
    remedy: str
    workflow: str = ""
    via: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields by name, JSON-compatible."""
        return {
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "end_line": self.end_line,
            "end_column": self.end_column,
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "workflow": self.workflow,
            "via": list(self.via),
        }

    def __str__(self) -> str:
        text = f"{self.path}:{self.line}:{self.column}: {self.code} {self.message}"
        return f"{text}; {self.remedy}" if self.remedy else text


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        findings: by file and place.
        files: how many files were asked for.
        workflows: how many workflow functions were looked into.
    """

    findings: tuple[Finding, ...]
    files: int
    workflows: int

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings
