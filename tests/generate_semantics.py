"""Writes tests/semantics.md: which tests show which behaviour, from the docstrings that begin with ``Semantics N``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "semantics.md"
NUMBERS = range(1, 48)

_MARK = re.compile(r"Semantics ((?:\d+(?: to \d+)?(?:, | and )?)+):\s*(.*)", re.DOTALL)


def find() -> dict[int, list[tuple[str, str]]]:
    """By number: (test, what it shows)."""
    found: dict[int, list[tuple[str, str]]] = {number: [] for number in NUMBERS}
    for path in sorted(HERE.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                match = _MARK.match(ast.get_docstring(node) or "")
                if match:
                    text = " ".join(match[2].split()).split(". ")[0].rstrip(".")
                    for number in _numbers(match[1]):
                        found[number].append((f"{path.relative_to(HERE)}::{node.name}", text))
    return found


def _numbers(text: str) -> list[int]:
    numbers: list[int] = []
    for part in re.split(r", | and ", text.strip(", ")):
        first, _, last = part.partition(" to ")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def render() -> str:
    """The page's text."""
    lines = [
        "# Where each behaviour is shown",
        "",
        "Made from the docstrings of the tests. Workflow behaviour is shown twice: with runs kept in memory, and evicted and",
        "replayed after every turn.",
        "",
        "| number | what is shown | test |",
        "|---|---|---|",
    ]
    for number, tests in find().items():
        lines += [f"| {number} | {text.replace('|', chr(92) + '|')} | {test} |" for test, text in tests]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
