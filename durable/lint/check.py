"""The linter: from files to a report.

Parse every file once; find the workflow functions; follow what they reach; run each check over each function
reached; take away what comments ignore. Nothing of the program is imported or executed.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from typing import Any

from durable.errors import ConfigurationError
from durable.lint import awaiting, cancellation, forbidden, naive, ordering, state
from durable.lint.code import CODES
from durable.lint.disk import Disk, Files, Texts
from durable.lint.finding import Finding, Report
from durable.lint.inference import Inference
from durable.lint.problem import Problem
from durable.lint.project import Project
from durable.lint.reach import Reach
from durable.lint.region import Region
from durable.lint.suppression import report_unused, suppressions
from durable.lint.variable import Changes


def check_paths(
    paths: Iterable[str | PathLike[str]],
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    files: Files | None = None,
) -> Report:
    """Look for nondeterminism in the workflow code of Python files.

    Args:
        paths: files, and directories to search for ``.py`` files.
        select: only these codes, or codes that begin so: ``DURL3``. All by default.
        ignore: not these.
        files: where sources come from; the disk by default.

    Returns:
        What was found. Code that workflows reach in other modules of the program is part of it, wherever its file is.

    Raises:
        ConfigurationError: a path does not exist or cannot be read, or a code is unknown.
    """
    wanted = _choose(select, ignore)
    source = files if files is not None else Disk()
    found = source.find([fspath(path) for path in paths])
    project = Project(source)
    project.add(found)
    inference = Inference(project)
    reach = Reach(inference)
    changes = Changes(inference)
    raw: dict[Any, Finding] = {}
    for region in reach.regions():
        for problem in _problems(region, inference, changes):
            finding = _finding(problem, region)
            raw.setdefault((finding.path, finding.line, finding.column, finding.code, problem.message), finding)
    findings = [*_unsuppressed(project, list(raw.values())), *project.broken.values()]
    chosen = sorted(finding for finding in findings if finding.code in wanted)
    return Report(tuple(chosen), len(found), len(reach.workflows))


def check_sources(sources: Mapping[str, str], *, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> Report:
    """Like ``check_paths``, for sources in memory.

    Args:
        sources: source by path, like ``{"shop/deploy.py": "..."}``. They can import each other.
        select, ignore: as for ``check_paths``.

    Raises:
        ConfigurationError: a code is unknown.
    """
    return check_paths(list(sources), select=select, ignore=ignore, files=Texts(sources))


def _choose(select: Iterable[str], ignore: Iterable[str]) -> set[str]:
    selected = _matching(select, "select")
    return (selected or set(CODES)) - _matching(ignore, "ignore")


def _matching(given: Iterable[str], what: str) -> set[str]:
    found: set[str] = set()
    for prefix in given:
        codes = {code for code in CODES if prefix and code.startswith(prefix.upper())}
        if not codes:
            close = difflib.get_close_matches(prefix.upper(), CODES, 1)
            hint = f"; did you mean {close[0]}?" if close else f" (known: {', '.join(CODES)})"
            raise ConfigurationError(f"expected {what} to name a code of the linter, got {prefix!r}{hint}")
        found |= codes
    return found


def _problems(region: Region, inference: Inference, changes: Changes) -> Iterator[Problem]:
    yield from forbidden.check(region, inference)
    yield from awaiting.check(region, inference)
    yield from ordering.check(region, inference)
    yield from state.check(region, inference, changes)
    yield from cancellation.check(region, inference)
    yield from naive.check(region, inference)


def _finding(problem: Problem, region: Region) -> Finding:
    node: Any = problem.node
    source = region.module.source
    is_block = isinstance(node, (ast.ExceptHandler, ast.AsyncFor, ast.AsyncWith))
    end_line = node.lineno if is_block else node.end_lineno
    end_offset = node.col_offset + 1 if is_block else node.end_col_offset
    return Finding(
        source.shown,
        node.lineno,
        source.column_of(node.lineno, node.col_offset),
        end_line,
        source.column_of(end_line, end_offset),
        problem.code,
        problem.message.replace("{where}", _where(region)),
        problem.remedy,
        region.route.workflow,
        region.route.via,
    )


def _where(region: Region) -> str:
    workflow, via = region.route
    if len(via) == 1:
        return f" in workflow '{workflow}'" if workflow else f" in {via[0]}, which takes a Context"
    if not workflow:
        return f" in {via[-1]}, reached from {via[0]}, which takes a Context"
    return f" in {via[-1]}, reached from workflow '{workflow}'"


def _unsuppressed(project: Project, findings: list[Finding]) -> Iterator[Finding]:
    by_path: dict[str, list[Finding]] = {}
    for finding in findings:
        by_path.setdefault(finding.path, []).append(finding)
    for module in project.modules():
        own = by_path.pop(module.source.shown, [])
        is_given = module.path in project.given
        comments = suppressions(module.source) if own or is_given else []
        for finding in own:
            covering = [comment for comment in comments if comment.covers(finding)]
            if not covering:
                yield finding
        if is_given:
            yield from report_unused(module.source, comments)
