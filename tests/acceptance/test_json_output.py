"""``--json`` as a process: standard output is JSON, whatever the user's code prints."""

from __future__ import annotations

import json
from pathlib import Path

from acceptance.process import durable

APP = """
import os
import subprocess
import sys

from durable import Context, step, workflow

print("on import")


@step
def prints() -> str:
    print("from a step")
    print("to the first standard output", file=sys.__stdout__, flush=True)
    os.write(1, b"to the descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('from a subprocess')"], check=True)
    return "done"


@workflow
async def loud(ctx: Context) -> str:
    return await ctx.step(prints)
"""

LOUD = ["on import", "from a step", "to the first standard output", "to the descriptor", "from a subprocess"]


def test_json_output_is_free_of_what_user_code_prints(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    ran = durable(tmp_path, "run", "app.py", "--json")
    assert [json.loads(line)["event"] for line in ran.stdout.splitlines()][-1] == "ended"
    assert [line for line in ran.stderr.splitlines() if line in LOUD] == LOUD
    ran = durable(tmp_path, "start", "app.py", "--json")
    assert [json.loads(line)["event"] for line in ran.stdout.splitlines()] == ["started"]


def test_without_json_user_code_prints_to_standard_output(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    ran = durable(tmp_path, "run", "app.py")
    assert set(LOUD) <= set(ran.stdout.splitlines())
