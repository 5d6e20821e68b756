"""A run that was replayed up to an event: which frames it stands in, and what their locals are."""

from __future__ import annotations

import pytest
from deployment import Life, code_of, registry_of

from durable.errors import MissingCodeError, ReadOnlyError
from durable.history import EventKind
from durable.replay.standstill import Standstill, frame_fields, stand_still

SOURCE = """
@step
async def double(n: int) -> int:
    return 2 * n

async def inner(ctx: Context, n: int) -> int:
    found = await ctx.step(double, n)
    await ctx.wait_signal(Signal("go", int))
    return found

async def middle(ctx: Context, n: int) -> int:
    mine = n + 1
    return await inner(ctx, mine)

@workflow
async def buy(ctx: Context, n: int) -> int:
    async with asyncio.TaskGroup() as group:
        other = group.create_task(middle(ctx, 100), name="other")
        first = await middle(ctx, n)
    return first + await other
"""


def life() -> Life:
    return Life(code_of(SOURCE), "buy", 1)


@pytest.fixture(autouse=True)
def _evicted(monkeypatch: pytest.MonkeyPatch):
    """What a test has lived is closed at its end, and not when the garbage collector comes."""
    lives: list[Life] = []
    init = Life.__init__
    monkeypatch.setattr(
        Life, "__init__", lambda self, *args, **more: (init(self, *args, **more), lives.append(self))[0]
    )
    yield
    for one in lives:
        one.replayer.evict()


def functions(found: Standstill) -> list[tuple[str, list[str]]]:
    return [(one.task, [frame.f_code.co_name for frame in one.frames]) for one in found.stands]


def test_innermost_user_frame_and_those_that_await_it():
    one = life()
    found = stand_still(one.recording, one.registry)
    assert functions(found) == [("buy", ["buy", "middle", "inner"]), ("other", ["middle", "inner"])]
    assert found.stands[0].frames[-1].f_locals["found"] == 4
    assert found.stands[0].frames[-2].f_locals["mine"] == 2
    assert found.stands[0].where.startswith("/repo/shop.py:")
    assert (found.event, found.waits_for, found.breakage) == (len(one.events), "signal 'go'", None)
    found.close()


def test_frames_are_a_traceback_with_the_innermost_last():
    one = life()
    found = stand_still(one.recording, one.registry)
    trace, names = found.stands[0].traceback(), []
    while trace is not None:
        names.append((trace.tb_frame.f_code.co_name, trace.tb_lineno))
        trace = trace.tb_next
    assert [name for name, _ in names] == ["buy", "middle", "inner"]
    assert all(line > 1 for _, line in names)
    found.close()


def test_an_event_in_the_middle():
    one = life()
    found = stand_still(one.recording, one.registry, 1)
    assert found.event == 3  # with the whole batch
    assert "found" not in found.stands[0].frames[-1].f_locals
    assert found.waits_for == "step 'double', step 'double'"
    found.close()


def test_ended_run_stands_where_it_stood_last():
    one = life()
    one.signal("go", 1)
    one.signal("go", 2)
    assert one.events[-1].kind == EventKind.RUN_COMPLETED
    found = stand_still(one.recording, one.registry)
    assert functions(found)[0] == ("buy", ["buy"])
    assert found.stands[0].frames[-1].f_locals["first"] == 4
    found.close()
    ended = stand_still(one.recording, one.registry, one.events[-1].seq)
    assert (ended.stands, ended.event) == ([], one.events[-1].seq)
    ended.close()


def test_run_without_events_stands_nowhere():
    one = life()
    found = stand_still(type(one.recording)(one.identity, []), one.registry)
    assert (found.event, found.stands) == (0, [])
    found.close()


def test_divergence_stands_where_the_code_asks_for_something_else():
    one = life()
    changed = code_of(SOURCE.replace("found = await ctx.step(double, n)", "found = await ctx.sleep(1)"))
    found = stand_still(one.recording, registry_of(changed))
    assert found.breakage is not None
    assert found.breakage.requested.startswith("sleep")
    assert functions(found)[0] == ("the request", ["buy", "middle", "inner"])
    assert found.event == 2
    found.close()


def test_function_that_raises_stands_where_it_raised():
    one = life()
    changed = code_of(SOURCE.replace("mine = n + 1", "mine = n / 0"))
    found = stand_still(one.recording, registry_of(changed))
    assert functions(found)[0][1][-1] == "middle"
    assert found.stands[0].frames[-1].f_locals["n"] == 1
    found.close()


def test_code_is_refused_what_it_asks_for_while_it_stands():
    one = life()
    found = stand_still(one.recording, one.registry)
    ctx = found.stands[0].frames[-1].f_locals["ctx"]
    with pytest.raises(ReadOnlyError, match="the debugger must not change the run"):
        ctx.publish("a", 1)
    with pytest.raises(ReadOnlyError):
        ctx.step(one.module.double, 1)
    assert ctx.info.workflow_id == "w-1"
    found.close()


def test_missing_workflow_is_told():
    one = life()
    with pytest.raises(MissingCodeError):
        stand_still(one.recording, registry_of(code_of(SOURCE.replace("def buy", "def sell"))))


def test_frame_for_programs_has_short_locals():
    one = Life(code_of(SOURCE.replace("mine = n + 1", "mine = n + 1; text = 'x' * 1000")), "buy", 1)
    found = stand_still(one.recording, one.registry)
    fields = frame_fields(found.stands[0].frames[1])
    assert (fields["function"], fields["file"]) == ("middle", "/repo/shop.py")
    assert fields["locals"]["mine"] == "2"
    assert len(fields["locals"]["text"]) < 100
    found.close()
