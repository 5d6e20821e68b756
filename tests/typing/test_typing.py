"""What the annotations promise, as mypy and pyright see it: wrong calls are refused, results have the declared type."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def mypy_errors(path: Path) -> set[int]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-error-codes", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {int(line) for line in re.findall(rf"{path.name}:(\d+): error", done.stdout)}


def pyright_errors(path: Path) -> set[int]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    report = json.loads(done.stdout)
    return {
        entry["range"]["start"]["line"] + 1
        for entry in report["generalDiagnostics"]
        if entry["severity"] == "error" and Path(entry["file"]).name == path.name
    }


CHECKERS = pytest.mark.parametrize("errors_of", [mypy_errors, pyright_errors])


@CHECKERS
def test_right_calls_are_accepted_with_their_types(errors_of):
    assert errors_of(HERE / "accepted.py") == set()


@CHECKERS
def test_wrong_calls_are_refused(errors_of):
    path = HERE / "refused.py"
    marked = {number for number, line in enumerate(path.read_text().splitlines(), 1) if "# refused:" in line}
    assert errors_of(path) == marked
