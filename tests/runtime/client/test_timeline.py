"""The timeline of a run: every operation from its beginning to its end, with what went wrong on the way."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from durable import Context, RetryPolicy, Signal, Update, step, workflow
from durable.codec import AesGcmCodec
from durable.duration import to_instant
from durable.errors import RunFailedError
from durable.history import EventKind, Recorder, write_detail
from durable.timeline.entry import EntryKind, EntryState, TimelineAttempt, TimelineEntry
from durable.timeline.line import entry_lines
from durable.timeline.text import plain_text
from durable.timeline.timeline import HIDDEN, Timeline
from runtime import Client, Runtime
from runtime.client.timeline import read_timeline, value_opener
from runtime.store.row import AttemptOutcome, AttemptRow

go = Signal("go", int)
add = Update("add", int, returns=int)
attempts: list[int] = []


async def unmake(made: str) -> None:
    """Undo ``make``."""


@step(compensate=unmake)
async def make(name: str) -> str:
    return f"made {name}"


@step(retry=RetryPolicy(max_attempts=3, initial_interval=0.001))
async def flaky() -> str:
    attempts.append(1)
    if len(attempts) < 3:
        raise ConnectionError("not yet")
    return "at last"


@step
async def breaks() -> None:
    raise ValueError("broken")


@step
async def endless() -> None:
    await asyncio.Event().wait()


@workflow
async def small(ctx: Context, number: int) -> int:
    return number * 2


@workflow(messages=[go, add])
async def everything(ctx: Context, name: str) -> str:
    @ctx.on(add)
    async def take(number: int) -> int:
        if number < 0:
            raise ValueError("too small")
        return number + 1

    ctx.set_attributes(customer=name)
    ctx.publish("progress", 1)
    for item in range(3):
        ctx.stream("words").write(item)
    made = await ctx.step(make, name)
    await ctx.step(flaky)
    await ctx.sleep(timedelta(milliseconds=1))
    await ctx.child_workflow(small.options(id="the-child"), 4)
    decision = await ctx.ask_approval("May I?", key="may")
    await ctx.wait_signal(go)
    if ctx.patched("new"):
        await ctx.workflow("nobody").signal(go, 1) if decision.comment == "signal" else None
    return made


@workflow
async def undone(ctx: Context) -> None:
    await ctx.step(make, "thing")
    await ctx.step(breaks)


@workflow
async def hangs(ctx: Context) -> None:
    await ctx.step(endless)


@pytest.fixture(params=[1000, 0], ids=["kept", "evicted"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Runtime:
    attempts.clear()
    return Runtime(f"sqlite:///{tmp_path}/t.db", workflows=[everything, undone, hangs, small], cache_size=request.param)


def find(timeline: Timeline, kind: EntryKind, name: str | None = None) -> TimelineEntry:
    return next(entry for entry in timeline.entries if entry.kind is kind and name in (None, entry.name))


@pytest.mark.anyio
async def test_timeline_joins_what_belongs_together(runtime: Runtime) -> None:
    async with runtime:
        run = await runtime.start(everything.options(id="e1"), "acme")
        await run.until_waiting("May I?", timeout=30)
        assert await run.update(add, 1) == 2
        with pytest.raises(Exception, match="too small"):
            await run.update(add, -1)
        await run.approve(by="alice", comment="yes")
        await run.signal(go, 7)
        await run.result(timeout=30)
        timeline = await read_timeline(runtime, await run.row())

    first = timeline.entries[0]
    assert (first.kind, first.name, first.state) == (EntryKind.RUN, "completed", EntryState.DONE)
    assert (first.input, first.result) == ('{"name":"acme"}', '"made acme"')
    assert timeline.open == []
    made = find(timeline, EntryKind.STEP, "make")
    assert (made.state, made.input, made.result, made.attempts) == (
        EntryState.DONE,
        '{"name":"acme"}',
        '"made acme"',
        1,
    )
    tried = find(timeline, EntryKind.STEP, "flaky")
    assert (tried.state, tried.attempts) == (EntryState.DONE, 3)
    assert [(one.attempt, one.outcome) for one in tried.tries] == [(1, "failed"), (2, "failed")]
    assert tried.tries[0].error is not None
    assert tried.tries[0].error.message == "not yet"
    assert find(timeline, EntryKind.TIMER).state is EntryState.DONE
    child = find(timeline, EntryKind.CHILD)
    assert (child.name, child.text, child.result) == ("small", "the-child", "8")
    approval = find(timeline, EntryKind.APPROVAL)
    assert (approval.name, approval.text, approval.by) == ("may", "May I?", "user:alice")
    signal = find(timeline, EntryKind.SIGNAL)
    assert (signal.name, signal.input, signal.state) == ("go", "7", EntryState.DONE)
    done, failed = [entry for entry in timeline.entries if entry.kind is EntryKind.UPDATE]
    assert (done.state, done.result) == (EntryState.DONE, "2")
    assert failed.state is EntryState.FAILED
    assert failed.error is not None
    assert failed.error.message == "too small"
    stream = find(timeline, EntryKind.NOTE, "stream")
    assert (stream.text, stream.times) == ("words", 3)
    assert find(timeline, EntryKind.NOTE, "attributes").text == "customer=acme"
    assert find(timeline, EntryKind.NOTE, "patch").text == "new"
    assert find(timeline, EntryKind.NOTE, "published").text == "progress"


@pytest.mark.anyio
async def test_failure_and_rollback_are_told(runtime: Runtime) -> None:
    async with runtime:
        run = await runtime.start(undone)
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        timeline = await read_timeline(runtime, await run.row())
    assert [(entry.kind, entry.name, entry.state) for entry in timeline.entries] == [
        (EntryKind.RUN, "failed", EntryState.FAILED),
        (EntryKind.STEP, "make", EntryState.DONE),
        (EntryKind.STEP, "breaks", EntryState.FAILED),
        (EntryKind.ROLLBACK, "rollback", EntryState.DONE),
        (EntryKind.COMPENSATION, "unmake", EntryState.DONE),
    ]
    for entry in (timeline.entries[0], timeline.entries[2]):
        assert entry.error is not None
        assert str(entry.error) == "ValueError: broken"
        assert entry.error.where is not None
        assert entry.error.where.endswith("in breaks")


@pytest.mark.anyio
async def test_ended_run_leaves_nothing_open(runtime: Runtime) -> None:
    async with runtime:
        run = await runtime.start(hangs)
        while not (await run.row()).seq:
            await asyncio.sleep(0)
        before = await read_timeline(runtime, await run.row())
        await run.terminate("enough")
        after = await read_timeline(runtime, await run.row())
    assert [entry.name for entry in before.open] == ["endless"]
    assert before.entries[0].is_open
    assert after.open == []
    assert (after.entries[0].name, after.entries[0].text) == ("terminated", "enough")
    assert after.entries[1].state is EntryState.CANCELLED


@pytest.mark.anyio
async def test_timeline_fed_in_portions_is_the_same(runtime: Runtime) -> None:
    async with runtime:
        run = await runtime.start(undone)
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        row = await run.row()
        history = await run.history()
        whole = await read_timeline(runtime, row)
    portions = Timeline(value_opener(runtime, {}))
    ended = [entry.name for event in history for entry in portions.feed([event])]
    portions.feed_attempts([])
    assert portions.entries == whole.entries
    assert portions.seq == len(history)
    assert ended == ["make", "breaks", "unmake", "rollback", "failed"]


@pytest.mark.anyio
async def test_timeline_without_values_knows_operations_only(runtime: Runtime) -> None:
    async with runtime:
        run = await runtime.start(small, 1)
        await run.result(timeout=30)
        timeline = Timeline()
        timeline.feed(await run.history())
    assert (timeline.entries[0].name, timeline.entries[0].result) == ("completed", None)


def fed(*events: tuple[str, int | None, str | None, str | None]) -> Timeline:
    """A timeline of events: kind, command, name and detail."""
    recorder, timeline = Recorder(), Timeline()
    recorder.begin_batch(1_000_000)
    timeline.feed([recorder.append(kind, "user:a", command, name, detail) for kind, command, name, detail in events])
    return timeline


def test_what_did_not_happen_is_told_with_its_reason() -> None:
    timeline = fed(
        (EventKind.RUN_STARTED, None, None, write_detail(continued_from="run-0")),
        (EventKind.CHILD_STARTED, 1, "small", write_detail(workflow_id="c1")),
        (EventKind.CHILD_STARTED, 2, "small", write_detail(workflow_id="c2")),
        (EventKind.CHILD_FAILED, 1, "small", write_detail(error="exists")),
        (EventKind.CHILD_FAILED, 2, "small", write_detail(error="cancelled", reason="too late")),
        (EventKind.QUESTION_ASKED, 3, "go", write_detail(kind="question", prompt="Go?", deadline_us=5_000_000)),
        (EventKind.QUESTION_WITHDRAWN, 3, None, None),
        (EventKind.MESSAGE_SENT, 4, "go", write_detail(workflow_id="other")),
        (EventKind.MESSAGE_FAILED, 4, None, write_detail(error="not_found")),
        (EventKind.CANCEL_REQUESTED, None, None, write_detail(reason="enough")),
        (EventKind.RUN_CANCELLED, None, None, write_detail(reason="enough")),
    )
    assert [(entry.kind.value, entry.name, entry.state.value, entry.text) for entry in timeline.entries] == [
        ("run", "cancelled", "cancelled", "enough"),
        ("child", "small", "failed", "c1: exists"),
        ("child", "small", "cancelled", "c2: cancelled: too late"),
        ("question", "go", "cancelled", "Go?"),
        ("message", "go", "failed", "to other: not_found"),
        ("request", "cancellation requested", "done", "enough"),
    ]
    assert timeline.entries[3].due_at == to_instant(5_000_000)


def test_origin_of_a_run_is_told() -> None:
    assert (
        fed((EventKind.RUN_STARTED, None, None, write_detail(retry_of="run-0"))).entries[0].text
        == "a retry of run run-0"
    )


def test_history_that_begins_in_the_middle_is_read_as_far_as_it_goes() -> None:
    timeline = fed(
        (EventKind.STEP_COMPLETED, 7, "lost", None),
        (EventKind.UPDATE_COMPLETED, 8, "lost", write_detail(update_id="u")),
        (EventKind.ROLLBACK_COMPLETED, 9, None, None),
        ("SomethingNew", 10, None, None),
        (EventKind.RUN_TERMINATED, None, None, None),
    )
    assert [(entry.kind, entry.name) for entry in timeline.entries] == [(EntryKind.RUN, "terminated")]


def test_attempts_of_a_step_that_goes_on_are_counted() -> None:
    timeline = fed((EventKind.RUN_STARTED, None, None, None), (EventKind.STEP_SCHEDULED, 1, "pay", None))
    row = AttemptRow("r", 1, 2, AttemptOutcome.TIMED_OUT, 1_000_000, 2_000_000, 3_000_000, None, None, "w")
    timeline.feed_attempts([row])
    (step_entry,) = timeline.open
    assert (step_entry.attempts, step_entry.tries[0].outcome) == (2, "timed_out")
    assert step_entry.tries[0].next_at == to_instant(3_000_000)


@pytest.mark.anyio
async def test_encrypted_values_stay_hidden_unless_revealed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/t.db"
    async with Runtime(url, workflows=[small], codecs=[AesGcmCodec(bytes(32))]) as runtime:
        run = await runtime.start(small.options(id="s1"), 4)
        await run.result(timeout=30)
        hidden = await read_timeline(runtime, await run.row())
        shown = await read_timeline(runtime, await run.row(), reveal=True)
    async with Client(url) as client:
        keyless = await read_timeline(client, await client.get("s1").row(), reveal=True)
    assert (hidden.entries[0].input, hidden.entries[0].result) == (HIDDEN, HIDDEN)
    assert (shown.entries[0].input, shown.entries[0].result) == ('{"number":4}', "8")
    assert (keyless.entries[0].input, keyless.entries[0].result) == (HIDDEN, HIDDEN)


def test_attempt_that_was_lost_is_told_without_a_duration_that_nobody_knows():
    entry = TimelineEntry(EntryKind.STEP, "charge", EntryState.DONE, to_instant(0), 3)
    for outcome in ("lost", "failed"):
        entry.tries.append(TimelineAttempt(1, outcome, to_instant(0), to_instant(1_000_000), None, "w", None))
    _, *attempts = (plain_text(*line).strip() for line in entry_lines(entry))
    assert attempts == ["attempt 1 lost", "attempt 1 failed after 1 s"]
