"""The explorer: each planted bug is found and comes again by its seed; what is right has no findings."""

import asyncio

import pytest
from tested_shop import asks, both, charge, compute, counts_down, fetch, go, listens, month, parent, pay, plain, undo

from durable import Context, step, step_info, workflow
from durable.errors import DefinitionError, QuestionTimeoutError, SignalTimeoutError
from durable.testing import ExplorationError, FindingKind, WorkflowEnvironment, explore
from durable.testing.explorer.schedule import Schedule
from durable.testing.explorer.shrinking import shrink

pytestmark = pytest.mark.anyio

runs_of_this_process: list[str] = []


@step
async def refund(receipt: str) -> None: ...


@step
async def keyed(name: str) -> str:
    return step_info().idempotency_key


@step(timeout=5)
async def limited(name: str) -> str:
    return name


@workflow
async def charges(ctx: Context) -> str:
    return await ctx.step(charge, "a")


@workflow
async def last_wins(ctx: Context) -> str:
    last = ""

    async def put(name: str) -> None:
        nonlocal last
        last = await ctx.step(fetch, name)

    await asyncio.gather(put("a"), put("b"), put("c"))
    return last


@workflow
async def loses_an_update(ctx: Context) -> int:
    total = 0

    async def add(number: int) -> None:
        nonlocal total
        before = total
        total = before + await ctx.step(compute, number)

    await asyncio.gather(add(1), add(2))
    return total


@workflow
async def swallows(ctx: Context) -> str:
    try:
        return await ctx.step(fetch, "a")
    except asyncio.CancelledError:
        return "whatever"


@workflow
async def keeps_the_money(ctx: Context) -> None:
    await ctx.step(fetch, "money")
    await ctx.step(limited, "goods")


@workflow
async def remembers_in_the_process(ctx: Context) -> str:
    runs_of_this_process.append("begun")
    await ctx.step(fetch, "a")
    return await ctx.step(fetch, "first" if len(runs_of_this_process) == 1 else "again")


@workflow
async def waits_on_after_a_question(ctx: Context) -> bool:
    try:
        return bool(await ctx.ask_user("sure?", bool, key="sure", timeout=60))
    except QuestionTimeoutError:
        await ctx.wait_signal(go)
        return False


@workflow
async def races(ctx: Context) -> str:
    try:
        await ctx.wait_signal(go, timeout=60)
    except SignalTimeoutError:
        return "late"
    return "in time"


@workflow
async def pays(ctx: Context) -> str:
    return await ctx.step(pay)


def prepared() -> WorkflowEnvironment:
    runs_of_this_process.clear()
    env = WorkflowEnvironment()
    env.stub(charge, lambda name: f"receipt {name}")
    env.stub(fetch, lambda name: name)
    env.stub(compute, lambda number: number)
    env.stub(undo)
    env.stub(refund)
    env.stub(pay, returns="paid")
    env.stub("flaky", returns=1)
    env.allow(keyed, limited)
    return env


def charged_once(run):
    count = len(run.calls(charge))
    return None if count <= 1 else f"charged {count} times"


async def nothing_is_lost(run):
    if await run.status() != "completed":
        return None
    return None if await run.result() == 3 else "an update was lost"


def money_comes_back(run):
    paid, failed = run.calls(fetch), run.events[-1].kind == "RunFailed"
    return "the money is gone" if paid and failed and not run.calls(refund) else None


async def sends(run):
    await run.until_waiting("go")
    await run.signal(go, True)


BUGS = [
    (charges, {"invariants": [charged_once]}, FindingKind.INVARIANT, "charged 2 times", "crash="),
    (last_wins, {}, FindingKind.OUTCOME, "became", "order="),
    (loses_an_update, {"invariants": [nothing_is_lost]}, FindingKind.INVARIANT, "lost", "undisturbed"),
    (swallows, {}, FindingKind.CANCELLATION, "completed all the same", "cancel="),
    (keeps_the_money, {"invariants": [money_comes_back]}, FindingKind.INVARIANT, "money is gone", "fault="),
    (remembers_in_the_process, {}, FindingKind.STUCK, "does not replay|diverged|stuck", ""),
    (waits_on_after_a_question, {}, FindingKind.HANG, "signal 'go'", "fault="),
    (races, {"drive": sends}, FindingKind.OUTCOME, "late", "order="),
]


@pytest.mark.parametrize(("flow", "options", "kind", "words", "seed"), BUGS, ids=[bug[0].name for bug in BUGS])
async def test_a_planted_bug_is_found_and_comes_again_by_its_seed(flow, options, kind, words, seed):
    report = await explore(flow.bind(), env=prepared, max_schedules=120, **options)
    finding = next(each for each in report.findings if each.kind is kind)
    assert any(word in finding.difference for word in words.split("|")), finding
    assert finding.seed.startswith(seed)
    assert finding.timeline in str(finding).replace("\n    ", "\n")
    again = await explore(flow.bind(), env=prepared, seed=finding.seed, **options)
    assert (kind, finding.difference) in [(each.kind, each.difference) for each in again.findings]
    with pytest.raises(ExplorationError, match="reproduce"):
        report.raise_for_findings()


async def test_the_order_of_a_finding_has_no_more_deviations_than_it_needs():
    report = await explore(last_wins.bind(), env=prepared)
    assert [finding.seed for finding in report.findings] == ["order=2", "order=1.1"]


async def test_an_order_that_fails_is_shrunk():
    async def fails(schedule: Schedule) -> str | None:
        return "fails" if (schedule.order or ())[3:4] > (0,) else None

    smallest, found = await shrink(Schedule(order=(1, 2, 0, 2, 1, 0, 0)), "fails", fails)
    assert (smallest, found) == (Schedule(order=(0, 0, 0, 1)), "fails")


@pytest.mark.parametrize(
    "seed", ["undisturbed", "crash=7", "fault=0.3.fails-once/crash=2", "cancel=4+", "cancel=4", "order=0.2.1"]
)
def test_a_seed_is_read_as_it_was_written(seed):
    assert str(Schedule.parse(seed)) == seed


async def test_what_may_depend_on_the_order_is_no_finding_if_that_is_said():
    for flow, drive in ((last_wins, None), (races, sends), (swallows, None)):
        report = await explore(flow.bind(), env=prepared, drive=drive, order_matters=True)
        report.raise_for_findings()


async def approves(run):
    await run.until_waiting("name")
    await run.answer("Ada")
    await run.until_waiting("approval")
    await run.approve(by="alice")


RIGHT = [
    (plain.bind("a"), None), (both.bind(), None), (month.bind(), None), (parent.bind("a"), None), (counts_down.bind(2), None),
    (listens.bind(), sends), (asks.bind(), None), (asks.bind(), approves), (charges.bind(), None), (keeps_the_money.bind(), None),
]  # fmt: skip


@pytest.mark.parametrize(("call", "drive"), RIGHT)
async def test_a_workflow_that_is_right_has_no_findings(call, drive):
    report = await explore(call, env=prepared, drive=drive)
    report.raise_for_findings()
    assert report.ok
    assert "no findings" in str(report)


async def test_a_step_in_doubt_is_what_at_most_once_promises():
    report = await explore(pays.bind(), env=prepared)
    report.raise_for_findings()
    assert any("between the effect" in text for text in report.in_doubt)


async def test_the_report_advises_on_effects_that_repeat_and_effects_that_stay():
    @workflow
    async def flow(ctx: Context) -> None:
        await ctx.step(keyed, "a")
        await ctx.step(charge, "b")
        await ctx.step(fetch, "c")

    report = await explore(flow.bind(), env=prepared)
    repeats = [text for text in report.advice if text.startswith("a crash repeats")]
    assert not any("'keyed'" in text for text in repeats)
    assert any("'charge'" in text for text in repeats)
    remains = [text for text in report.advice if "has no compensation" in text]
    assert any("'fetch'" in text for text in remains)
    assert not any("'charge'" in text for text in remains)
    assert report.tried["crashes in a rollback"]


async def test_awaits_that_nobody_waits_at_are_named_and_the_line_of_a_fault_is_the_await():
    @workflow
    async def flow(ctx: Context) -> None:
        await ctx.step(charge, "a")
        if not await ctx.step(fetch, "b"):
            await ctx.step(fetch, "never")

    report = await explore(flow.bind(), env=prepared, invariants=[charged_once])
    assert [one.text for one in report.coverage.missed] == ['await ctx.step(fetch, "never")']
    first = flow.fn.__code__.co_firstlineno
    assert [finding.line for finding in report.findings] == [f"{__file__}:{first + 2}"]


async def test_a_signal_that_nobody_sends_is_told_with_the_drive_to_write():
    report = await explore(races.bind(), env=prepared)
    assert report.ok
    report = await explore(listens.bind(), env=prepared)
    (finding,) = report.findings
    assert finding.kind is FindingKind.HANG
    assert "async def drive(run):" in finding.difference


async def test_an_environment_is_copied_and_its_sequences_begin_anew(durable_env):
    durable_env.stub(fetch, sequence=["x"])
    report = await explore(plain.bind("a"), env=durable_env)
    report.raise_for_findings()
    assert durable_env.runs == []


async def test_too_many_schedules_are_left_out_and_counted():
    report = await explore(charges.bind(), env=prepared, max_schedules=4)
    assert report.tried.total() == 4
    assert report.left_out["crashes"] > 0


async def test_what_is_no_call_or_no_seed_is_refused():
    with pytest.raises(DefinitionError, match="bind"):
        await explore(charges, env=prepared)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="crash=7"):
        await explore(charges.bind(), env=prepared, seed="nonsense")


@workflow
async def ten_steps(ctx: Context) -> int:
    total = 0
    for number in range(10):
        await ctx.step(charge, str(number))
        total += number
    return total


async def test_ten_steps_are_explored_to_the_last_crash_in_the_rollback():
    report = await explore(ten_steps.bind(), env=prepared)
    report.raise_for_findings()
    print(report)
    assert report.tried["crashes"] == 32
    assert report.tried["crashes in a rollback"] > 30
    assert not report.left_out
