"""Rule H2: payloads are JSON; nothing of the two packages can unpickle."""

from __future__ import annotations

import ast
from pathlib import Path

import durable
import runtime

FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
HOMES = [Path(package.__file__ or "").parent for package in (durable, runtime)]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_no_module_imports_what_reads_code_from_data() -> None:
    modules = [path for home in HOMES for path in home.rglob("*.py")]
    assert len(modules) > 100
    assert {str(path): found for path in modules if (found := imported(path) & FORBIDDEN)} == {}
