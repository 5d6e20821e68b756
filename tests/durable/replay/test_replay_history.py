"""Broken deployments, each found where it breaks; and sound ones, which are let through."""

from __future__ import annotations

import pytest
from deployment import Life, code_of, deploy, registry_of

from durable.codec import AesGcmCodec, ZlibCodec
from durable.errors import NondeterminismError
from durable.history import EventKind, split_batches
from durable.replay import BreakageKind, Recording, replay_history, replay_recording

SHOP = """
class Order(BaseModel):
    item: str
    total: int = 3

class Declined(Exception):
    pass

@step
async def reserve(order: Order) -> Order:
    return order

@step
async def charge(order: Order) -> int:
    return order.total

@step
async def refund(total: int) -> None:
    pass

@step
async def ship(item: str, express: bool = False) -> str:
    return f"sent {item}"

@workflow
async def buy(ctx: Context, item: str) -> str:
    order = await ctx.step(reserve, Order(item=item))
    total = await ctx.step(charge, order)
    await ctx.ask_approval(f"Ship for {total}?", key="ship")
    return await ctx.step(ship, item)
"""
ASK = 'await ctx.ask_approval(f"Ship for {total}?", key="ship")'
YES = {"approved": True}


def swap(old: str, new: str):
    return lambda source: source.replace(old, new)


def line_of(source: str, text: str) -> int:
    from deployment import HEAD

    return next(number for number, line in enumerate((HEAD + source).splitlines(), 1) if text in line)


def approve(life: Life) -> None:
    life.outcome(EventKind.QUESTION_ANSWERED, YES)


# -- sound deployments ------------------------------------------------------------------------------------


def test_unchanged_code_replays():
    report = deploy(SHOP, SHOP, approve, "book")
    assert (report.ok, report.divergence, report.misfits, report.findings) == (True, None, (), ())
    assert (report.workflow, report.workflow_id, report.run_id, report.events) == ("buy", "w-1", "run-1", 10)
    report.raise_for_breakage()


def test_change_behind_the_recorded_part_is_let_through():
    assert deploy(
        SHOP, swap("await ctx.step(ship, item)", "await ctx.step(ship, item, True)"), lambda _: None, "book"
    ).ok


def test_change_behind_a_patch_is_let_through():
    patched = SHOP.replace(ASK, f'if ctx.patched("no-question"):\n        await ctx.sleep(1)\n    else:\n        {ASK}')
    assert deploy(SHOP, patched, approve, "book").ok
    assert not deploy(SHOP, swap(ASK, "await ctx.sleep(1)"), approve, "book").ok


def test_new_field_with_a_default_that_reaches_no_input_is_let_through():
    source = SHOP.replace("class Order", "class Receipt(BaseModel):\n    no: int\n\nclass Order")
    source = source.replace("-> int:\n    return order.total", "-> Receipt:\n    return Receipt(no=1)")
    source = source.replace("{total}", "{total.no}")
    assert deploy(source, swap("no: int", "no: int\n    by: str | None = None"), approve, "book").ok


# -- divergences ------------------------------------------------------------------------------------------


def test_renamed_step_is_named_on_both_sides_with_its_line():
    new = SHOP.replace("charge", "collect")
    report = deploy(SHOP, new, approve, "book")
    found = report.divergence
    assert found is not None
    assert (found.kind, found.event) == (BreakageKind.DIVERGENCE, 4)
    assert (found.recorded, found.requested) == ("step('charge')", "step('collect')")
    assert found.where == f"/repo/shop.py:{line_of(new, 'ctx.step(collect')} in buy"
    assert found.place == f"/repo/shop.py:{line_of(new, 'ctx.step(collect')}"
    assert "ctx.patched" in found.remedy
    with pytest.raises(
        NondeterminismError, match=r"(?s)recorded:  step\('charge'\).*requested: step\('collect'\)"
    ) as error:
        report.raise_for_breakage()
    assert error.value.data["event"] == 4


def test_reordered_steps_diverge_at_the_first_of_them():
    first, second = "order = await ctx.step(reserve, Order(item=item))", "total = await ctx.step(charge, order)"
    new = SHOP.replace(second, "").replace(first, f"order = Order(item=item)\n    {second}\n    {first}")
    found = deploy(SHOP, new, approve, "book").divergence
    assert (found.event, found.recorded, found.requested) == (2, "step('reserve')", "step('charge')")


def test_removed_await_diverges_where_the_code_goes_on_instead():
    found = deploy(SHOP, swap(ASK, ""), approve, "book").divergence
    assert (found.event, found.recorded, found.requested) == (6, "question('ship')", "step('ship')")


def test_added_await_diverges_where_it_waits():
    new = SHOP.replace(ASK, f"await ctx.sleep(1)\n    {ASK}")
    found = deploy(SHOP, new, approve, "book").divergence
    assert (found.recorded, found.requested) == ("question('ship')", "sleep until 1970-01-01T00:16:41+00:00")
    assert found.place.endswith(f":{line_of(new, 'ctx.sleep')}")


def test_wait_that_history_does_not_know_names_the_line_that_waits():
    new = SHOP.replace(ASK, f'await ctx.wait_signal(Signal("go"))\n    {ASK}')
    found = deploy(SHOP, new, approve, "book").divergence
    assert (found.recorded, found.requested) == ("question('ship')", "nothing")
    assert found.place == f"/repo/shop.py:{line_of(new, 'wait_signal')}"


def test_function_that_returns_too_early_names_what_history_has_next():
    new = SHOP.replace(ASK, 'return "sold out"')
    found = deploy(SHOP, new, approve, "book").divergence
    assert (found.event, found.recorded, found.requested) == (6, "question('ship')", "return from the workflow")
    assert found.where == f"/repo/shop.py:{line_of(new, '@workflow')} in buy"


def test_function_that_raises_names_the_line():
    new = SHOP.replace(ASK, 'raise ValueError("sold out")')
    found = deploy(SHOP, new, approve, "book").divergence
    assert (found.recorded, found.requested) == ("question('ship')", "an exception out of the workflow")
    assert found.place == f"/repo/shop.py:{line_of(new, 'raise ValueError')}"


def test_run_that_ended_and_goes_on_with_new_code_diverges():
    new = SHOP.replace("return await ctx.step(ship, item)", "await ctx.step(ship, item)\n    await ctx.sleep(1)")
    found = deploy(SHOP, new, approve, "book").divergence
    assert (found.recorded, found.requested) == ("return from the workflow", "sleep until 1970-01-01T00:16:41+00:00")
    new = SHOP.replace("return await ctx.step(ship, item)", "await ctx.step(ship, item)\n    return 'x'")
    found = deploy(SHOP, new, approve, "book").divergence
    assert (found.kind, found.recorded) == (BreakageKind.INPUT, "return from the workflow")
    assert "'sent book' became 'x'" in found.cause


# -- inputs -----------------------------------------------------------------------------------------------


def test_changed_argument_is_told_with_its_path_and_both_values():
    report = deploy(SHOP, swap("total: int = 3", "total: int = 4"), approve, "book")
    found = report.divergence
    assert (found.kind, found.event, report.stop) == (BreakageKind.INPUT, 2, None)
    assert found.cause == "the input differs from the recorded one: order.total: 3 became 4"
    assert "--allow-input-changes" in found.remedy
    assert len(report.findings) == 1


def test_new_optional_field_differs_in_strict_mode_only():
    new = SHOP.replace("total: int = 3", "total: int = 3\n    gift: bool | None = None")
    report = deploy(SHOP, new, approve, "book")
    assert not report.ok
    assert report.divergence.cause.endswith("order.gift is new: None")
    assert (report.misfits, report.stop) == ((), None)
    relaxed = deploy(SHOP, new, approve, "book", strict=False)
    assert (relaxed.ok, relaxed.divergence) == (True, None)
    assert relaxed.differences == report.differences


def test_divergence_behind_a_changed_input_is_told_as_well():
    new = SHOP.replace("total: int = 3", "total: int = 4").replace(ASK, "")
    report = deploy(SHOP, new, approve, "book")
    assert [found.kind for found in report.findings] == [BreakageKind.INPUT, BreakageKind.DIVERGENCE]
    assert report.divergence is report.differences[0]
    relaxed = deploy(SHOP, new, approve, "book", strict=False)
    assert relaxed.divergence.kind is BreakageKind.DIVERGENCE


# -- code that is not there, or does what it must not -----------------------------------------------------


def test_missing_workflow_is_a_breakage_of_its_own_kind():
    found = deploy(SHOP, swap("def buy(", "def purchase("), approve, "book").divergence
    assert (found.kind, found.code) == (BreakageKind.MISSING_CODE, "DUR1102")
    assert "no workflow is called 'buy'" in found.cause


def test_missing_exception_class_is_missing_code():
    old = SHOP.replace("return order.total", 'raise Declined("card")').replace(
        "total = await ctx.step(charge, order)",
        "try:\n        total = await ctx.step(charge, order)\n    except Exception:\n        total = 0",
    )
    assert deploy(old, old, approve, "book").ok
    found = deploy(old, swap("Declined", "Refused"), approve, "book").divergence
    assert (found.kind, found.recorded) == (BreakageKind.MISSING_CODE, "StepFailed('charge')")
    assert "shop.Declined" in found.cause


def test_clock_in_the_code_is_forbidden():
    found = deploy(SHOP, swap(ASK, f"time.time(); {ASK}"), approve, "book").divergence
    assert found.kind is BreakageKind.FORBIDDEN
    assert "time.time" in found.cause
    assert "shop.py:" in found.where


def test_what_ends_an_interpreter_is_told():
    found = deploy(SHOP, swap(ASK, f"raise SystemExit(3); {ASK}"), approve, "book").divergence
    assert found.kind is BreakageKind.ABORTED
    assert found.place.startswith("/repo/shop.py:")


def test_damaged_history_is_unreadable_when_it_is_verified():
    life = Life(code_of(SHOP), "buy", "book")
    events = [event._replace(actor="mallory") if event.seq == 4 else event for event in life.events]
    report = replay_history(events, life.definition, identity=life.identity, verify=True)
    assert (report.divergence.kind, report.divergence.code) == (BreakageKind.UNREADABLE, "DUR5001")
    assert "event 4" in report.divergence.cause


# -- every kind of run ------------------------------------------------------------------------------------


def test_history_may_end_anywhere():
    life = Life(code_of(SHOP), "buy", "book")
    approve(life)
    batches = list(split_batches(life.events))
    for end in range(len(batches) + 1):
        events = [event for batch in batches[:end] for event in batch]
        assert replay_history(events, life.definition, identity=life.identity, registry=life.registry).ok


SAGA = SHOP.replace("ctx.step(charge, order)", "ctx.step(charge.options(compensate=refund), order)").replace(
    "async def refund(total: int) -> None:\n    pass", "async def refund(total: int) -> None:\n    pass\n\nhangs_up = 1"
)


def test_run_inside_its_rollback_is_replayed():
    old = SAGA.replace("async def refund", "async def hangs").replace("compensate=refund", "compensate=hangs")
    assert deploy(old, old, Life.cancel, "book").ok
    found = deploy(old, swap("hangs", "give_back"), Life.cancel, "book").divergence
    assert (found.recorded, found.requested) == ("compensation('hangs')", "compensation('give_back')")


CHAIN = """
@step
async def one(n: int) -> int:
    return n + 1

@step
async def undo(n: int) -> None:
    pass

@workflow(messages=[Signal("go", int)])
async def buy(ctx: Context, n: int) -> int:
    n = await ctx.step(one.options(compensate=undo), n)
    if n < 3:
        ctx.continue_as_new(n)
    await ctx.sleep(10)
    return n
"""


def test_run_that_continued_as_new_is_replayed():
    assert deploy(CHAIN, CHAIN, lambda _: None, 1).ok
    found = deploy(CHAIN, swap("n < 3", "n < 2"), lambda _: None, 1).divergence
    assert (found.recorded, found.requested) == ("RunContinuedAsNew", "sleep until 1970-01-01T00:16:50+00:00")


def test_successor_with_carried_messages_and_compensations_is_replayed():
    def successor(source: str) -> list:
        life = Life(code_of(source), "buy", 1)
        command = life.commands[-1]
        detail = dict(life.events[0].details) | command.carry
        start = life.events[0]._replace(payload=command.payload, detail=__import__("json").dumps(detail))
        return [start]

    events = successor(CHAIN)
    assert "compensations" in events[0].details
    module = code_of(CHAIN)
    report = replay_history(events, module.buy, registry=registry_of(module))
    assert report.divergence.requested == "step('one')"  # its first command is not in this history
    gone = code_of(CHAIN.replace("undo", "revert"))
    report = replay_history(events, gone.buy, registry=registry_of(gone))
    assert report.divergence.kind is BreakageKind.MISSING_CODE
    changed = code_of(CHAIN.replace("async def undo(n: int)", "async def undo(n: bool)"))
    report = replay_history(events, changed.buy, registry=registry_of(changed))
    assert report.misfits[0].subject == "the arguments of compensation 'undo'"


FAMILY = """
@workflow
async def child(ctx: Context, n: int) -> int:
    return n

@workflow
async def buy(ctx: Context) -> int:
    return await ctx.child_workflow(child, 2)
"""


def test_run_with_a_child_is_replayed():
    def answer(life: Life) -> None:
        life.outcome(EventKind.CHILD_COMPLETED, 2)

    assert deploy(FAMILY, FAMILY, answer).ok
    found = deploy(FAMILY, swap("ctx.child_workflow(child, 2)", "ctx.child_workflow(child, 3)"), answer).differences[0]
    assert (found.recorded, found.requested) == ("child_workflow('child')", "child_workflow('child')")
    assert "n: 2 became 3" in found.cause
    report = deploy(FAMILY, swap("(ctx: Context, n: int) -> int", "(ctx: Context, n: int) -> list[int]"), answer)
    assert report.misfits[0].subject == "the result of child 'child'"


# -- codecs -----------------------------------------------------------------------------------------------

KEY = AesGcmCodec(b"k" * 32)


def test_encrypted_run_is_replayed_with_its_key_only():
    assert deploy(SHOP, SHOP, lambda _: None, "book", codecs=[ZlibCodec(), KEY]).ok
    assert deploy(SHOP, SHOP, lambda _: None, "book", codecs=[KEY]).ok


@pytest.mark.parametrize("codecs", [(), (AesGcmCodec(b"x" * 32),)], ids=["no key", "another key"])
def test_without_the_key_a_run_is_unreadable(codecs):
    life = Life(code_of(SHOP), "buy", "book", codecs=[KEY])
    report = replay_recording(life.recording, life.registry, codecs=codecs)
    assert report.divergence.kind is BreakageKind.UNREADABLE
    assert "--codecs" in report.divergence.remedy
    assert report.misfits == ()


def test_differing_input_of_an_encrypted_run_is_told_without_its_values():
    report = deploy(SHOP, swap("total: int = 3", "total: int = 4"), lambda _: None, "book", codecs=[KEY])
    assert report.divergence.cause == "the input differs from the recorded one: order.total changed"


def test_compressed_run_needs_no_codecs_to_be_replayed():
    report = deploy(SHOP, SHOP, lambda _: None, "b" * 5000, codecs=[ZlibCodec()])
    assert report.ok
    life = Life(code_of(SHOP), "buy", "b" * 5000, codecs=[ZlibCodec()])
    assert replay_recording(life.recording, life.registry).ok


def test_values_that_are_stored_apart_are_compared():
    item = "b" * 100_000
    life = Life(code_of(SHOP), "buy", item)
    assert life.blobs
    assert replay_recording(life.recording, life.registry).ok
    lost = Recording(life.identity, life.events)
    assert replay_recording(lost, life.registry).divergence.kind is BreakageKind.UNREADABLE
