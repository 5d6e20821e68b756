"""The terminal: what is drawn, what is asked, what is typed; on a pseudo terminal of this process."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

import pytest
from rich.console import Console

from cli.command import Cli
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Recorder
from durable.timeline.timeline import Timeline
from runtime.cli.output import Output
from runtime.cli.progress import SHOWN_ENDED, SHOWN_OPEN, LiveProgress
from runtime.cli.terminal import read_line
from runtime.store.row import RunRow


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of the terminal that is standard input: what is written to it has been typed."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


def types(keyboard: int, text: str) -> None:
    os.write(keyboard, text.encode())


@pytest.mark.usefixtures("app")
def test_run_asks_and_goes_on(cli: Cli, keyboard: int) -> None:
    types(keyboard, "perhaps\ny\nfine by me\n\neu\nmany\n7\n")
    ran = cli("run", "app.py:deploy", "-i", "version=v1", "--by", "alice")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "v1 in eu x7, user:alice: fine by me")
    assert "Deploy v1?\n  risk: low\n" in ran.err
    assert "y or n, please" in ran.err
    assert 'an empty text is ""' in ran.err
    assert "size does not fit its schema" in ran.err


@pytest.mark.usefixtures("app")
def test_no_fails_the_run(cli: Cli, keyboard: int) -> None:
    types(keyboard, "no\nnot today\n")
    ran = cli("run", "app.py:deploy", "-i", "version=v1")
    assert ran.code == 1
    assert "not today" in ran.err


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("typed", ["\x04", "y\n\x04", "y\n\n\x04"])
def test_end_of_input_stops_asking(cli: Cli, keyboard: int, typed: str) -> None:
    types(keyboard, typed)
    ran = cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1")
    assert ran.code == 4
    assert "then go on: durable run app.py:deploy --id d1" in ran.out


@pytest.mark.usefixtures("app")
def test_what_was_answered_before_is_not_asked(cli: Cli, keyboard: int) -> None:
    assert cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1", "--no-ask").code == 4
    assert cli("approve", "d1", "--by", "alice", "--comment", "fine by me").code == 0
    types(keyboard, "eu\n7\n")
    ran = cli("run", "app.py:deploy", "--id", "d1")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "v1 in eu x7, user:alice: fine by me")
    assert "[y/n]" not in ran.err


@pytest.mark.usefixtures("app", "keyboard")
def test_programs_are_never_asked(cli: Cli) -> None:
    assert cli("run", "app.py:deploy", "-i", "version=v1", "--json").code == 4
    assert cli("run", "app.py:deploy", "-i", "version=v1", "--no-ask").code == 4


def test_hidden_line_is_not_shown(keyboard: int, capsys: pytest.CaptureFixture[str]) -> None:
    async def ask() -> tuple[str | None, int]:
        asking = asyncio.ensure_future(read_line("pin: ", is_hidden=True))
        await asyncio.sleep(0)
        flags = termios.tcgetattr(sys.stdin.fileno())[3]
        types(keyboard, "1234\n")
        return await asking, flags

    line, flags = asyncio.run(ask())
    assert line == "1234"
    assert not flags & termios.ECHO
    assert termios.tcgetattr(sys.stdin.fileno())[3] & termios.ECHO
    assert capsys.readouterr().err.startswith("pin: ")


def test_line_may_be_long_and_typed_in_parts(keyboard: int) -> None:
    async def ask() -> str | None:
        asking = asyncio.ensure_future(read_line(""))
        await asyncio.sleep(0)
        types(keyboard, "one ")
        types(keyboard, "two\n")
        return await asking

    assert asyncio.run(ask()) == "one two"


# -- drawing ----------------------------------------------------------------------------------------------


class Screen(Output):
    """An output whose console is a text."""

    def __init__(self) -> None:
        super().__init__()
        self.printed = io.StringIO()
        self.is_rich = True
        self.console = Console(file=self.printed, force_terminal=True, width=100, highlight=False, markup=False)

    @property
    def text(self) -> str:
        """What was drawn, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.printed.getvalue())


ROW = RunRow(
    run_id="r", workflow_id="w", workflow="wf", queue="default", status=RunStatus.RUNNING, rollback=RollbackStatus.NONE,
    owner=None, epoch=1, seq=1, ready_at_us=None, created_at_us=0, started_at_us=0, closed_at_us=None, origin_id="r",
    first_run_id="r", parent_run_id=None, parent_command=None, on_parent_close="terminate", lost=False, code=None,
    reason=None, waiting_for=None, input_digest="", actor="user:a",
)  # fmt: skip


def draw(screen: Screen, done: int, going: int, row: RunRow = ROW) -> LiveProgress:
    """Progress of a run with so many steps that ended and so many that go on."""
    recorder, events = Recorder(), []
    recorder.begin_batch(1_000_000)
    events.append(recorder.append(EventKind.RUN_STARTED, "user:a"))
    for number in range(1, done + going + 1):
        events.append(recorder.append(EventKind.STEP_SCHEDULED, "w", number, f"step-{number}"))
    recorder.begin_batch(2_000_000)
    events.extend(recorder.append(EventKind.STEP_COMPLETED, "w", number, None) for number in range(1, done + 1))
    timeline = Timeline()
    progress = LiveProgress(screen)
    progress.show(row, timeline, timeline.feed(events))
    return progress


def test_display_shows_what_ended_what_goes_on_and_where_the_run_stands() -> None:
    screen = Screen()
    progress = draw(screen, 1, 1, replace(ROW, status=RunStatus.WAITING, waiting_for="signal 'go'"))
    progress.tick()
    progress.close()
    last = screen.text.splitlines()[-3:]
    assert "✓ step step-1  1 s" in last[0]
    assert "… step step-2" in last[1]
    assert last[2].startswith("waiting  ")
    assert last[2].endswith("1 done, waiting for signal 'go'")


def test_display_stays_small() -> None:
    screen = Screen()
    draw(screen, SHOWN_ENDED + 30, SHOWN_OPEN + 5).close()
    lines = screen.text[screen.text.rindex("30 more before") :].splitlines()
    assert len(lines) == 1 + SHOWN_ENDED + SHOWN_OPEN + 2
    assert lines[-2].strip() == "and 5 more go on"
    assert f"{SHOWN_ENDED + 30} done" in lines[-1]


def test_paused_display_draws_nothing_until_it_is_resumed() -> None:
    screen = Screen()
    progress = draw(screen, 1, 0)
    progress.pause()
    before = screen.text
    progress.show(ROW, Timeline(), [])
    progress.tick()
    assert screen.text == before
    progress.note("a remark")
    progress.resume()
    progress.close()
    assert "a remark" in screen.text


def test_display_of_nothing_leaves_nothing() -> None:
    screen = Screen()
    LiveProgress(screen).close()
    assert screen.text == ""


def test_tables_and_lines_are_rich_on_a_terminal() -> None:
    screen = Screen()
    screen.table(("id", "about"), [("[red]x[/red]", ("done", "done"))])
    screen.line("plain ", ("styled", "strong"), " [b]")
    assert screen.text.splitlines()[0].split() == ["ID", "ABOUT"]
    assert "[red]x[/red]" in screen.text
    assert "plain styled [b]" in screen.text
    assert "\x1b[1m" in screen.printed.getvalue()


class Terminal(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stdout", "term", "is_rich"), [(Terminal, "xterm", True), (Terminal, "dumb", False), (io.StringIO, "xterm", False)]
)
def test_output_is_rich_only_on_a_capable_terminal(
    monkeypatch: pytest.MonkeyPatch, stdout: type[IO[str]], term: str, is_rich: Any
) -> None:
    monkeypatch.setattr(sys, "stdout", stdout())
    monkeypatch.setenv("TERM", term)
    assert Output().is_rich is is_rich
    assert not Output(as_json=True).is_rich
