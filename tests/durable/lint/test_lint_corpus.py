"""No false alarms: the examples are clean, and of the workflows in tests only those are reported that are wrong on purpose."""

import re
from collections import Counter
from pathlib import Path

import pytest

from durable.lint import check_paths, check_sources

REPOSITORY = Path(__file__).parents[3]

ON_PURPOSE = {
    "durable/kernel/test_replayer_edges.py": {"DURL203": 1},  # drives an operation by hand
    "durable/kernel/test_rules_k.py": {"DURL109": 1, "DURL203": 2, "DURL501": 1, "DURL502": 1},
    "properties/kernel_model/program.py": {"DURL302": 1, "DURL402": 1},  # shows a test the scenes of a run
    "replay/scheduling.py": {"DURL502": 2},  # goes on after a cancellation
    "runtime/semantics/flows.py": {"DURL401": 1},  # a gate that the test closes
    "runtime/semantics/test_asyncio_anyio.py": {"DURL402": 3, "DURL502": 1},  # tells the test what it saw
    "runtime/semantics/test_attempt_limits.py": {"DURL402": 1},  # tells the test what it saw
    "runtime/semantics/test_cancellation.py": {"DURL502": 7},  # catches cancellations to show that it may
    "runtime/semantics/test_message_edges.py": {"DURL103": 1, "DURL111": 1},  # forbidden in handlers
    "runtime/semantics/test_messages.py": {"DURL402": 1},  # counts the calls of a validator
    "runtime/semantics/test_saga.py": {"DURL401": 1},  # tells the test how far it is
    "runtime/semantics/test_stuck.py": {"DURL103": 1, "DURL501": 2, "DURL502": 1},  # gets stuck, cannot be evicted
    "runtime/semantics/test_time.py": {"DURL601": 1},  # naive times are refused
}
"""What the workflows of the tests do wrong to show what comes of it."""


def test_examples_are_clean():
    report = check_paths([REPOSITORY / "examples"])
    assert [str(finding) for finding in report.findings] == []
    assert report.workflows >= 7


@pytest.mark.parametrize("corpus", ["replay/shapes.py", "crash", "acceptance", "runtime/semantics/concurrency.py"])
def test_corpus_of_workflows_is_clean(corpus):
    report = check_paths([REPOSITORY / "tests" / corpus])
    assert [str(finding) for finding in report.findings] == []


def test_of_other_workflows_only_what_is_wrong_on_purpose_is_reported():
    tests = REPOSITORY / "tests"
    folders = ("conformance", "crash", "durable/kernel", "properties", "replay", "runtime")
    found: dict[str, Counter[str]] = {}
    for finding in check_paths([tests / folder for folder in folders]).findings:
        path = (Path.cwd() / finding.path).relative_to(tests).as_posix()
        found.setdefault(path, Counter())[finding.code] += 1
    assert found == ON_PURPOSE, "a false alarm? if it is on purpose: # durable: ignore[CODE] beside it, or a line above"


def test_project_that_init_writes_is_clean():
    from runtime.cli.project import APP, TEST

    report = check_sources({"app.py": APP, "test_app.py": TEST})
    assert report.ok
    assert report.workflows == 1


def test_programs_of_the_documentation_are_clean():
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    programs = {
        f"{page.stem}_{number}.py": text
        for page in pages
        if page.name != "check.md"  # shows what is wrong
        for number, text in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    }
    report = check_sources(programs)
    assert [str(finding) for finding in report.findings] == []
    assert report.workflows >= 1
