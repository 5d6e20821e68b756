"""A report as SARIF 2.1.0, the format in which code hosts and editors take the findings of tools."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from durable.lint.code import CODES, Code
from durable.lint.finding import Finding, Report

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_WARNINGS: Final = frozenset({"DURL109", "DURL902"})


def to_sarif(report: Report, version: str) -> dict[str, Any]:
    """The report as a SARIF log with one run.

    Args:
        report: what was found.
        version: of durable.
    """
    places = {code: index for index, code in enumerate(CODES)}
    driver = {
        "name": "durable check",
        "semanticVersion": version,
        "rules": [_rule(code) for code in CODES.values()],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, places) for finding in report.findings],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: Code) -> dict[str, Any]:
    return {
        "id": code.code,
        "shortDescription": {"text": code.title},
        "fullDescription": {"text": code.why},
        "help": {"text": code.remedy},
        "defaultConfiguration": {"level": _level(code.code)},
    }


def _result(finding: Finding, places: dict[str, int]) -> dict[str, Any]:
    text = f"{finding.message}; {finding.remedy}" if finding.remedy else finding.message
    return {
        "ruleId": finding.code,
        "ruleIndex": places[finding.code],
        "level": _level(finding.code),
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(finding.path)},
                    "region": {
                        "startLine": finding.line,
                        "startColumn": finding.column,
                        "endLine": finding.end_line,
                        "endColumn": finding.end_column,
                    },
                }
            }
        ],
        "properties": {"workflow": finding.workflow, "via": list(finding.via)},
    }


def _level(code: str) -> str:
    return "warning" if code in _WARNINGS else "error"


def _uri(path: str) -> str:
    return PurePath(path).as_uri() if PurePath(path).is_absolute() else quote(path)
