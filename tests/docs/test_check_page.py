"""Every code of the linter has its section in docs/check.md, and the hook runs a command that exists."""

import importlib.util
import re
from pathlib import Path

from durable.lint import CODES
from runtime.cli.app import COMMANDS

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


def test_check_page_is_current():
    spec = importlib.util.spec_from_file_location("generate_check", DOCS / "generate_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "check.md").read_text() == module.render(), "run: python docs/generate_check.py"


def test_every_code_has_a_section_with_both_examples():
    sections = (DOCS / "check.md").read_text().split("\n### ")[1:]
    assert [section.partition("\n")[0] for section in sections] == list(CODES)
    assert all(section.count("```python") == 2 for section in sections)


def test_codes_that_other_pages_name_exist():
    for page in DOCS.glob("*.md"):
        assert set(re.findall(r"DURL\d+", page.read_text())) <= {*CODES, "DURL3"}, page


def test_pre_commit_hook_runs_a_command_that_exists():
    hook = dict(re.findall(r"^[- ] (\w+): (.*)$", (REPOSITORY / ".pre-commit-hooks.yaml").read_text(), re.MULTILINE))
    assert hook["id"] == "durable-check"
    program, command = hook["entry"].split()
    assert program == "durable"
    assert command in COMMANDS
    assert hook["language"] == "python"
    assert hook["pass_filenames"] == "false"
