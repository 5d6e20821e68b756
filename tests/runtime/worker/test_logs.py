"""Log lines of steps are kept with their run, and shown with its ids."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from durable import Context, step, workflow
from durable.attempt import StepInfo, current_step
from durable.errors import StoreError, StoreUnavailableError
from runtime import Runtime
from runtime.clock import SystemClock
from runtime.store.row import LogRow
from runtime.worker import logs
from runtime.worker.logs import HumanFormatter, JsonFormatter, RunLogHandler, configure_logging

log = logging.getLogger("shop.orders")


@step
async def pays(amount: int) -> None:
    log.info("paid %d", amount, extra={"currency": "EUR"})
    await asyncio.create_task(says("from a task"))
    log.debug("not shown")


async def says(text: str) -> None:
    log.warning(text)


@step
def fails_in_a_thread() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it failed")
    logging.getLogger("durable.worker").warning("about something else")


@workflow
async def order(ctx: Context) -> None:
    ctx.log.info("order of %s", "acme")
    await ctx.step(pays, 3)
    await ctx.step(fails_in_a_thread)


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.setLevel(logging.INFO)
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.anyio
@pytest.mark.parametrize("cache_size", [1000, 0])
async def test_lines_of_steps_and_workflow_are_kept_with_the_run(tmp_path: Path, cache_size: int) -> None:
    async with Runtime(f"sqlite:///{tmp_path}/l.db", workflows=[order], cache_size=cache_size) as runtime:
        run = await runtime.start(order)
        await run.result(timeout=30)
        log.info("not in a step")
        await runtime.worker.stop()
        await runtime.store.open()
        lines = await run.logs()
    assert [(line.level, line.source, line.message.splitlines()[0]) for line in lines] == [
        ("INFO", "order", "order of acme"),
        ("INFO", "pays", "paid 3"),
        ("WARNING", "pays", "from a task"),
        ("ERROR", "fails_in_a_thread", "it failed"),
    ]
    assert lines[-1].message.endswith("ValueError: broken")
    assert {line.run_id for line in lines} == {run.run_id}


@pytest.mark.anyio
async def test_workers_of_one_process_keep_their_own_lines(tmp_path: Path) -> None:
    kept: list[list[str]] = []
    async with (
        Runtime(f"sqlite:///{tmp_path}/a.db", workflows=[order]) as one,
        Runtime(f"sqlite:///{tmp_path}/b.db", workflows=[order]) as two,
    ):
        runs = [await runtime.start(order) for runtime in (one, two)]
        for run, runtime in zip(runs, (one, two), strict=True):
            await run.result(timeout=30)
            await runtime.worker.stop()
            await runtime.store.open()
            kept.append([line.message for line in await run.logs() if line.source == "pays"])
    assert kept == [["paid 3", "from a task"]] * 2


@pytest.mark.anyio
async def test_stopped_worker_leaves_no_handler(tmp_path: Path, root: logging.Logger) -> None:
    before = list(root.handlers)
    async with Runtime("memory://", workflows=[order]):
        assert len(root.handlers) == len(before) + 1
    assert root.handlers == before


@step
def logs_a_file_name(name: str) -> None:
    log.warning("before")
    log.warning("found %s", os.fsdecode(b"caf\xe9"), extra={"file": os.fsdecode(b"caf\xe9")})
    log.warning("after")


@workflow
async def scan(ctx: Context) -> None:
    ctx.log.warning("looking for %s", os.fsdecode(b"caf\xe9"))
    await ctx.step(logs_a_file_name, "x")
    await ctx.step(step(logs_a_file_name.fn, name="logs_a_file_name", isolation="process"), "x")


@pytest.mark.anyio
@pytest.mark.parametrize("cache_size", [1000, 0])
async def test_file_name_that_is_no_utf8_breaks_neither_run_nor_lines(
    tmp_path: Path, root: logging.Logger, cache_size: int
) -> None:
    root.handlers.clear()  # the test runner's cannot take such lines
    async with Runtime(f"sqlite:///{tmp_path}/l.db", workflows=[scan], cache_size=cache_size) as runtime:
        run = await runtime.start(scan)
        await run.result(timeout=30)
        await runtime.worker.stop()
        await runtime.store.open()
        lines = [line.message for line in await run.logs()]
    ofstep = ["before", "found caf\\udce9", "after"]
    assert lines == ["looking for caf\\udce9", *ofstep, *ofstep]


@workflow
async def tells_more(ctx: Context) -> None:
    ctx.log.info("paid", extra={"currency": "EUR", "workflow_id": "forged", "msg": "forged"})  # noqa: G101


@pytest.mark.anyio
@pytest.mark.parametrize("cache_size", [1000, 0])
async def test_extra_fields_of_workflow_lines_reach_the_handlers(
    caplog: pytest.LogCaptureFixture, cache_size: int
) -> None:
    async with Runtime("memory://", workflows=[tells_more], cache_size=cache_size) as runtime:
        run = await runtime.start(tells_more)
        await run.result(timeout=30)
    (line,) = [line for line in caplog.records if line.name == "durable.run"]
    assert (line.getMessage(), line.currency, line.workflow_id) == ("paid", "EUR", run.workflow_id)  # type: ignore[attr-defined]
    assert (line.workflow_id_, line.msg_) == ("forged", "forged")  # type: ignore[attr-defined]


# -- the handler by itself --------------------------------------------------------------------------------


class Running:
    """A step as the context has it."""

    def info(self) -> StepInfo:
        return StepInfo("order-1", "run-1", "order", "pays", 1, 1, "key", "token")

    def beat(self, details: Any) -> None:
        raise AssertionError


class Kept:
    """A store's ``write_logs``, that may fail."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.rows: list[LogRow] = []
        self.calls = 0

    async def __call__(self, rows: Sequence[LogRow]) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        self.rows += rows


@pytest.fixture
def in_step() -> Iterator[None]:
    token = current_step.set(Running())
    yield
    current_step.reset(token)


def emit(handler: RunLogHandler, *messages: str) -> None:
    token = current_step.set(Running())
    for message in messages:
        handler.handle(logging.LogRecord("app", logging.INFO, "", 1, message, (), None))
    current_step.reset(token)


@pytest.mark.anyio
async def test_lines_are_written_in_batches() -> None:
    kept = Kept()
    handler = RunLogHandler(kept, lambda _: True, SystemClock())
    emit(handler, *(f"line {number}" for number in range(50)))
    await handler.detach()
    assert [row.message for row in kept.rows] == [f"line {number}" for number in range(50)]
    assert kept.calls == 1


@pytest.mark.anyio
async def test_lines_wait_for_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FLUSH_SECONDS", 0)
    monkeypatch.setattr(logs, "RETRY_SECONDS", 0)
    kept = Kept(StoreUnavailableError("locked"), StoreUnavailableError("locked"))
    handler = RunLogHandler(kept, lambda _: True, SystemClock())
    emit(handler, "one", "two")
    async with asyncio.timeout(30):
        while not kept.rows:
            await asyncio.sleep(0)
    await handler.detach()
    assert [row.message for row in kept.rows] == ["one", "two"]


@pytest.mark.anyio
async def test_lines_that_the_store_cannot_take_are_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logs, "FLUSH_SECONDS", 0)
    kept = Kept(StoreError("no Unicode"))
    handler = RunLogHandler(kept, lambda _: True, SystemClock())
    emit(handler, "one")
    async with asyncio.timeout(30):
        while "log lines are lost" not in caplog.text:
            await asyncio.sleep(0)
    emit(handler, "two")
    await handler.detach()
    assert [row.message for row in kept.rows] == ["two"]


@pytest.mark.anyio
async def test_waiting_lines_are_bounded_and_the_newest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_PENDING", 3)
    kept = Kept()
    handler = RunLogHandler(kept, lambda _: True, SystemClock())
    emit(handler, *"abcde", "x" * (logs.MAX_MESSAGE + 5))
    await handler.detach()
    assert [row.message[:1] for row in kept.rows] == ["d", "e", "x"]
    assert kept.rows[-1].message.endswith("[... 5 characters left out]")


@pytest.mark.anyio
async def test_line_that_cannot_be_formatted_does_not_fail_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    kept = Kept()
    handler = RunLogHandler(kept, lambda _: True, SystemClock())
    token = current_step.set(Running())
    handler.handle(logging.LogRecord("app", logging.INFO, "", 1, "%d", ("no number",), None))
    current_step.reset(token)
    await handler.detach()
    assert kept.rows == []


@pytest.mark.anyio
async def test_text_that_no_store_takes_is_escaped() -> None:
    kept = Kept()
    handler = RunLogHandler(kept, lambda _: True, SystemClock())
    logging.addLevelName(33, "\ud801")
    token = current_step.set(Running())
    handler.handle(logging.LogRecord("app", 33, "", 1, "bad \ud800", (), None))
    current_step.reset(token)
    emit(handler, "good")
    await handler.detach()
    assert [(row.level, row.message) for row in kept.rows] == [("\\ud801", "bad \\ud800"), ("INFO", "good")]


@pytest.mark.anyio
async def test_warnings_are_still_printed_where_nobody_configured_logging(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard library prints warnings as a last resort only while no handler is there at all."""
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    root.handlers[:] = []
    handler = RunLogHandler(Kept(), lambda _: True, SystemClock())
    handler.attach()
    another = RunLogHandler(Kept(), lambda _: True, SystemClock())
    another.attach()
    log.warning("look out")
    log.info("never mind")
    await another.detach()
    await handler.detach()
    assert printed.getvalue() == "look out\n"


# -- formats ----------------------------------------------------------------------------------------------


def record(name: str = "app", **extra: Any) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": name, "levelname": "INFO", "levelno": 20, "msg": "paid %d", "args": (3,), **extra}
    )


@pytest.mark.usefixtures("in_step")
def test_json_lines_have_ids_and_extras() -> None:
    fields = json.loads(JsonFormatter().format(record(currency="EUR", tags={"a"})))
    assert fields.pop("at").endswith("Z")
    assert fields == {
        "level": "info",
        "logger": "app",
        "message": "paid 3",
        "workflow_id": "order-1",
        "run_id": "run-1",
        "workflow": "order",
        "step": "pays",
        "attempt": 1,
        "currency": "EUR",
        "tags": "{'a'}",
    }


@pytest.mark.usefixtures("in_step")
def test_own_lines_speak_about_the_run_that_they_name() -> None:
    fields = json.loads(JsonFormatter().format(record("durable.worker", workflow_id="other", run_id="run-2")))
    assert (fields["workflow_id"], fields["run_id"]) == ("other", "run-2")
    assert "step" not in fields


def test_json_lines_hold_the_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        fields = json.loads(JsonFormatter().format(record(exc_info=sys.exc_info())))
    assert fields["error"].endswith("ValueError: broken")


@pytest.mark.usefixtures("in_step")
def test_human_lines_begin_with_time_level_and_run() -> None:
    line = HumanFormatter().format(record())
    assert line[8:] == " INFO    order-1 pays: paid 3"


def test_human_lines_outside_of_runs_are_plain() -> None:
    assert HumanFormatter().format(record(stack_info="Stack")).splitlines()[0][8:] == " INFO    paid 3"


def test_format_follows_the_terminal_unless_it_is_given(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    for chosen in ("auto", "human", "auto"):
        configure_logging("info", chosen)  # type: ignore[arg-type]
        log.info("hello")
        log.debug("hidden")
    lines = printed.getvalue().splitlines()
    assert [line[0] == "{" for line in lines] == [True, False, True]
