"""``durable run`` on a terminal: live progress, questions, Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.process import Person, durable, runs

APP = """
from typing import Literal

from pydantic import BaseModel

from durable import Context, RetryPolicy, Signal, step, workflow

go = Signal("go")


class Place(BaseModel):
    region: Literal["eu", "us"]
    size: int = 3


@step
async def build(version: str) -> str:
    return f"artifact of {version}"


@workflow
async def deploy(ctx: Context, version: str = "v1") -> str:
    artifact = await ctx.step(build, version)
    decision = await ctx.ask_approval(f"Deploy {artifact}?", key="go", context={"risk": "low"})
    place = await ctx.ask_user("Where to?", Place, key="place")
    return f"{artifact} is in {place.region} x{place.size} ({decision.comment})"


@workflow
async def waits(ctx: Context) -> None:
    await ctx.wait_signal(go)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_questions_are_asked_on_the_terminal(folder: Path) -> None:
    person = Person(folder, "run", "app.py:deploy", "--id", "d1")
    person.reads("run ")
    person.reads("step ")
    person.reads("Deploy artifact of v1?")
    person.reads("risk: low")
    person.reads("approve? [y/n] ")
    person.types("perhaps\n")
    person.reads("y or n, please")
    person.reads("approve? [y/n] ")
    person.types("y\n")
    person.reads("comment")
    person.types("looks fine\n")
    person.reads("Where to?")
    person.reads("region (one of eu, us): ")
    person.types("mars\n")
    person.reads("does not fit its schema")
    person.reads("region (one of eu, us): ")
    person.types("eu\n")
    person.reads("size (whole number, default 3): ")
    person.types("\n")
    person.reads("artifact of v1 is in eu x3 (looks fine)")
    assert person.leaves() == 0
    assert person.seen.count("Deploy artifact of v1?\r\n") <= person.seen.count("approve? [y/n]")


def test_rejection_on_the_terminal_fails_the_run(folder: Path) -> None:
    person = Person(folder, "run", "app.py:deploy")
    person.reads("approve? [y/n] ")
    person.types("n\n")
    person.reads("comment")
    person.types("not on a friday\n")
    person.reads("not on a friday")
    assert person.leaves() == 1


def test_end_of_input_leaves_the_run_waiting(folder: Path) -> None:
    person = Person(folder, "run", "app.py:deploy", "--id", "d1")
    person.reads("approve? [y/n] ")
    person.types("\x04")
    person.reads("durable approve d1 --key go")
    assert person.leaves() == 4
    assert runs(folder) == {"d1": "waiting"}


def test_question_that_is_answered_elsewhere_is_taken_back(folder: Path) -> None:
    person = Person(folder, "run", "app.py:deploy", "--id", "d1")
    person.reads("approve? [y/n] ")
    assert durable(folder, "approve", "d1", "--comment", "by phone").returncode == 0
    person.reads("answered elsewhere")
    person.reads("region")
    person.types("us\n")
    person.reads("size")
    person.types("9\n")
    person.reads("in us x9 (by phone)")
    assert person.leaves() == 0


def test_nobody_is_asked_with_no_ask(folder: Path) -> None:
    person = Person(folder, "run", "app.py:deploy", "--id", "d1", "--no-ask")
    person.reads("durable approve d1 --key go")
    assert person.leaves() == 4


@pytest.mark.parametrize("workflow", ["waits", "deploy"])
def test_ctrl_c_leaves_the_run_resumable(folder: Path, workflow: str) -> None:
    person = Person(folder, "run", f"app.py:{workflow}", "--id", "r1")
    person.reads("signal 'go'" if workflow == "waits" else "approve? [y/n] ")
    person.types("\x03")
    person.reads(f"go on: durable run app.py:{workflow} --id r1")
    assert person.leaves() == 130
    assert runs(folder) == {"r1": "waiting"}


def test_lists_and_timelines_are_rich_on_a_terminal(folder: Path) -> None:
    durable(folder, "run", "app.py:deploy", "--id", "d1")
    for args in (["list"], ["show", "d1"], ["inbox"], ["history", "d1"]):
        person = Person(folder, *args)
        assert person.leaves() == 0
        assert "\x1b[" in person.seen
        assert "d1" in person.seen or args == ["history", "d1"]


def test_help_is_rich_on_a_terminal(folder: Path) -> None:
    person = Person(folder, "--help")
    assert person.leaves() == 0
    assert "Running workflows" in person.seen
