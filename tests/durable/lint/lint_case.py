"""How a case of the linter is written: a small program whose wrong lines say ``# !CODE``.

What is above a line ``---`` is the module, what is below it the body of a workflow. Without that line it is a module.
"""

import re
from textwrap import dedent, indent

from durable.lint import Finding, check_sources
from durable.lint.code import PRELUDE

_MARK = re.compile(r"# !([A-Z0-9 ]+)$")


def program(text: str) -> str:
    """The module that a case means."""
    head, line, body = f"\n{dedent(text)}".partition("\n---\n")
    if not line:
        return PRELUDE + head
    return f"{PRELUDE}{head}\n@workflow\nasync def deploy(ctx: Context) -> None:\n{indent(body, '    ')}"


def marked(source: str) -> list[tuple[int, str]]:
    """Lines and codes that a source expects."""
    return [
        (number, code)
        for number, line in enumerate(source.splitlines(), 1)
        if (mark := _MARK.search(line)) is not None
        for code in mark[1].split()
    ]


def findings_in(text: str) -> tuple[Finding, ...]:
    """What the linter finds in a case."""
    return check_sources({"app.py": program(text)}).findings


def assert_case(text: str) -> None:
    """The linter finds what is marked, and nothing else."""
    source = program(text)
    found = check_sources({"app.py": source}).findings
    assert [(finding.line, finding.code) for finding in found] == marked(source), [str(finding) for finding in found]
