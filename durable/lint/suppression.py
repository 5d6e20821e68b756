"""``# durable: ignore[DURL101]``: findings that the author has looked at."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from durable.lint.finding import Finding
from durable.lint.source import Source

_COMMENT: Final = re.compile(r"#\s*durable:\s*ignore(?:\[(?P<codes>[^\]]*)\])?(?=[\s#.,;:]|$)", re.IGNORECASE)


@dataclass(slots=True)
class Suppression:
    """One comment.

    Attributes:
        line: where it is.
        column, end_column: of the comment.
        codes: what it ignores; None for everything.
        used: what it has ignored.
    """

    line: int
    column: int
    end_column: int
    codes: tuple[str, ...] | None
    used: set[str] = field(default_factory=set)

    def covers(self, finding: Finding) -> bool:
        """Whether it ignores a finding; if so, that is noted. It may be on the first or the last line."""
        end_line = finding.end_line if finding.end_column > 1 else finding.end_line - 1
        if self.line not in (finding.line, end_line):
            return False
        if self.codes is None:
            self.used.add(finding.code)
            return True
        if finding.code in self.codes:
            self.used.add(finding.code)
            return True
        return False

    def unused(self) -> list[str]:
        """The codes that ignored nothing; the empty one for a comment without codes."""
        if self.codes is None:
            return [] if self.used else [""]
        return [code for code in self.codes if code not in self.used]


def suppressions(source: Source) -> list[Suppression]:
    """The ignoring comments of a file."""
    if "durable:" not in source.text:
        return []
    return list(_read(source.text))


def _read(text: str) -> Iterator[Suppression]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        found = _COMMENT.search(token.string) if token.type == tokenize.COMMENT else None
        if found is not None:
            line, column = token.start
            codes = found["codes"]
            names = None if codes is None else tuple(dict.fromkeys(re.findall(r"[^\s,]+", codes.upper())))
            yield Suppression(line, column + 1 + found.start(), column + 1 + found.end(), names)


def report_unused(source: Source, comments: list[Suppression]) -> Iterator[Finding]:
    """A finding for every comment, or code of one, that ignored nothing."""
    for comment in comments:
        for code in comment.unused():
            what = f"the ignore of {code}" if code else "the ignore"
            yield Finding(
                source.shown, comment.line, comment.column, comment.line, comment.end_column, "DURL902",
                f"{what} ignores nothing here", "remove it",
            )  # fmt: skip
