"""The logger of workflow code is a standard logger whose lines are no events for the workflow."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from bench_run import KernelRun

from durable import Context, step, workflow


@step
def work() -> int:
    return 1


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class Meddler:
    """Asks for something while it is shown, which replay never sees."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    def __str__(self) -> str:
        self.ctx.publish("shown", True)
        return "shown"


def lines_of(body: Any) -> list[tuple[str, str]]:
    """What a workflow logs; its history replays without a word."""

    @workflow
    async def logs(ctx: Context) -> None:
        body(ctx)
        await ctx.step(work)

    run = KernelRun(logs)
    assert run.kinds() == ["RunStarted", "StepScheduled"]
    assert run.replayed().logs == []
    return run.last.logs


@workflow
async def branches_on_a_bad_format(ctx: Context) -> None:
    try:
        ctx.log.info("paid %d", "ten")
    except TypeError:
        await ctx.step(work)
    await ctx.sleep(1)


def test_bad_format_is_no_event_that_replay_would_miss():
    run = KernelRun(branches_on_a_bad_format)
    assert run.last.logs == [("INFO", "paid %d, ten [not formatted: TypeError]")]
    assert run.kinds() == ["RunStarted", "TimerStarted"]
    run.replayed()


@pytest.mark.parametrize(
    ("message", "arguments", "line"),
    [
        ("%(a)s and %(b)s", ({"a": 1, "b": 2},), "1 and 2"),
        ("%s", ({},), "{}"),
        ("100%", (), "100%"),
        ("%s %s", (1,), "%s %s, 1 [not formatted: TypeError]"),
        ("%s", (Broken(),), "%s, <Broken, whose __repr__ raised ValueError> [not formatted: ValueError]"),
        (Broken(), (), "<Broken, whose __repr__ raised ValueError> [not formatted: ValueError]"),
        ("caf\udce9 %s", ("\ud800",), "caf\\udce9 \\ud800"),
    ],
)
def test_line_is_formatted_or_kept_as_it_is(message, arguments, line):
    assert lines_of(lambda ctx: ctx.log.info(message, *arguments)) == [("INFO", line)]


def test_what_is_shown_in_a_line_cannot_ask_for_anything():
    ((_, line),) = lines_of(lambda ctx: ctx.log.info("%s", Meddler(ctx)))
    assert line.endswith("[not formatted: ReadOnlyError]")


def test_levels_have_their_methods():
    def body(ctx: Context) -> None:
        for method in (ctx.log.debug, ctx.log.info, ctx.log.warning, ctx.log.warn, ctx.log.error):
            method("x")
        ctx.log.critical("x")
        ctx.log.fatal("x")
        ctx.log.log(15, "x", stacklevel=2)
        assert ctx.log.isEnabledFor(logging.DEBUG)
        assert (ctx.log.getEffectiveLevel(), ctx.log.name) == (logging.NOTSET, "durable.run")

    levels = [level for level, _ in lines_of(body)]
    assert levels == ["DEBUG", "INFO", "WARNING", "WARNING", "ERROR", "CRITICAL", "CRITICAL", "Level 15"]


def test_level_that_is_no_number_is_refused_during_replay_too():
    @workflow
    async def misnames(ctx: Context) -> None:
        try:
            ctx.log.log("INFO", "x")  # type: ignore[arg-type]
        except TypeError:
            await ctx.step(work)

    run = KernelRun(misnames)
    assert run.kinds() == ["RunStarted", "StepScheduled"]
    run.replayed()


def _oops(ctx: Context) -> None:
    try:
        raise KeyError("a")
    except KeyError as error:
        ctx.log.exception("oops")
        ctx.log.error("given", exc_info=error)
        ctx.log.warning("as a tuple", exc_info=(type(error), error, error.__traceback__))
        ctx.log.exception("without", exc_info=False)  # noqa: LOG007
    ctx.log.info("nothing is handled", exc_info=True)  # noqa: LOG014
    ctx.log.info("nothing is given", exc_info=(None, None, None))


def test_tracebacks_are_part_of_the_line():
    lines = [line for _, line in lines_of(_oops)]
    for line, first in zip(lines[:3], ("oops", "given", "as a tuple"), strict=True):
        assert line.startswith(f"{first}\nTraceback (most recent call last):\n")
        assert line.endswith("KeyError: 'a'")
    assert lines[3:] == ["without", "nothing is handled", "nothing is given"]


def test_exception_that_cannot_be_shown_harms_nothing(monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr("durable.kernel.runlog.traceback.format_exception", fail)
    ((_, line),) = lines_of(lambda ctx: ctx.log.info("x", exc_info=KeyError("a")))
    assert line == "x\n<KeyError, which cannot be shown: ValueError>"


def test_call_stack_shows_the_workflow_only():
    ((_, line),) = lines_of(lambda ctx: ctx.log.info("here", stack_info=True))
    first, heading, *calls = line.splitlines()
    assert (first, heading) == ("here", "Stack (most recent call last):")
    assert [call.rpartition(" in ")[2] for call in calls if call.startswith("  File")] == ["logs", "<lambda>"]


def test_extra_that_is_no_mapping_is_left_out():
    ((_, line),) = lines_of(lambda ctx: ctx.log.info("x", extra=5))  # type: ignore[arg-type]
    assert line == "x"


def test_error_that_nobody_retrieved_is_told_with_its_text_escaped():
    @workflow
    async def complains(ctx: Context) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "caf\udce9", "exception": None})

    assert KernelRun(complains).last.logs == [("WARNING", "caf\\udce9")]
