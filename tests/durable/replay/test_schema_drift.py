"""Recorded values that today's annotations do not take: each kind of value is found, with its path, type and event."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deployment import Life, code_of, deploy, registry_of

from durable.codec import AesGcmCodec
from durable.history import EventKind, Fact
from durable.replay import BreakageKind, Misfit, ReplayReport, replay_recording

FLOW = """
class Item(BaseModel):
    price: int

class Order(BaseModel):
    items: list[Item]

go = Signal("go", Order)
loose = Signal("loose", Order)
add = Update("add", Order, returns=int)

@step
async def make(order: Order) -> Order:
    return order

@workflow(messages=[go, add])
async def buy(ctx: Context, order: Order) -> Order:
    @ctx.on(add)
    async def handle(more: Order) -> int:
        return 1

    order = await ctx.step(make, order)
    answer = await ctx.ask_user("Which?", Order, key="which")
    await ctx.wait_signal(go)
    await ctx.wait_signal(loose)
    await ctx.sleep(1)
    return order
"""
ORDER = {"items": [{"price": 1}, {"price": 2}]}
RENAMED = FLOW.replace("price: int", "cost: int")
OPTIONAL = FLOW.replace("price: int", "price: int\n    note: str | None = None")


def order_of(module):
    return module.Order.model_validate(ORDER)


def everything(life: Life) -> None:
    life.outcome(EventKind.QUESTION_ANSWERED, ORDER)
    life.update("add", ORDER)
    life.signal("go", ORDER)
    life.signal("loose", ORDER)
    life.advance(1)


def lived(source: str = FLOW, **options) -> Life:
    life = Life(code_of(source), "buy", order_of, **options)
    everything(life)
    return life


def against(life: Life, source: str, **options) -> ReplayReport:
    return replay_recording(life.recording, registry_of(code_of(source)), **options)


def test_renamed_field_is_named_wherever_it_was_recorded():
    report = against(lived(), RENAMED)
    assert [(misfit.event, misfit.kind, misfit.subject, misfit.path, misfit.type) for misfit in report.misfits] == [
        (1, "RunStarted", "the input of workflow 'buy'", "order.items[0].cost", "buy(order)"),
        (3, "StepCompleted", "the result of step 'make'", "items[0].cost", "Order"),
    ]
    assert report.stop.kind is BreakageKind.DIVERGENCE
    assert "the input of workflow 'buy' (event 1) does not fit" in report.stop.cause
    assert "order.items[0].cost to be given" in report.stop.cause
    assert "validator" in report.stop.remedy


def keeps_input(source: str) -> str:
    """The code with types of its own for its input and its step, so that only one thing drifts at a time."""
    return source.replace("order: Order) -> Order:\n    @ctx", "order: dict) -> dict:\n    @ctx").replace(
        "async def make(order: Order) -> Order", "async def make(order: dict) -> dict"
    )


@pytest.mark.parametrize(
    ("declaration", "subject", "kind"),
    [
        ('go = Signal("go", Order)', "the signal 'go'", "SignalReceived"),
        ('loose = Signal("loose", Order)', "the signal 'loose'", "SignalReceived"),
        ('add = Update("add", Order, returns=int)', "the update 'add'", "UpdateAccepted"),
        ('await ctx.ask_user("Which?", Order, key="which")', "the answer to question 'which'", "QuestionAnswered"),
        ("async def make(order: dict) -> dict", "the result of step 'make'", "StepCompleted"),
        ("async def buy(ctx: Context, order: dict) -> dict", "the result of workflow 'buy'", "RunCompleted"),
    ],
)
def test_each_recorded_value_is_decoded(declaration: str, subject: str, kind: str):
    old = keeps_input(FLOW)
    life = Life(code_of(old), "buy", ORDER)
    everything(life)
    changed = declaration.replace("Order", "list[int]").replace("-> dict", "-> list[int]")
    report = against(life, old.replace(declaration, changed))
    found = report.misfits[0]
    assert (found.subject, found.kind, found.type) == (subject, kind, "list[int]")
    assert found.event in {event.seq for event in life.events if event.kind == kind}
    assert not report.ok


def test_signal_that_only_its_taker_knows_is_found_by_what_the_code_makes_of_it():
    old = keeps_input(FLOW)
    life = Life(code_of(old), "buy", ORDER)
    life.signal("loose", ORDER)  # before anybody waits for it
    everything(life)
    report = against(life, old.replace('Signal("loose", Order)', 'Signal("loose", int)'))
    assert [misfit.subject for misfit in report.misfits] == ["the message 'loose'"]
    assert "to be a valid integer" in report.misfits[0].problem
    assert "the message 'loose'" in report.stop.cause


def test_message_that_was_set_aside_in_its_time_is_no_misfit():
    old = keeps_input(FLOW)
    life = Life(code_of(old), "buy", ORDER)
    life.outcome(EventKind.QUESTION_ANSWERED, {"items": "none"})
    life.signal("go", 7)
    everything(life)
    assert sum(event.kind == EventKind.MESSAGE_SET_ASIDE for event in life.events) == 2
    assert against(life, old).ok


def test_argument_that_no_longer_fits_its_step_is_named():
    old = keeps_input(FLOW)
    life = Life(code_of(old), "buy", ORDER)
    new = old.replace("make(order: dict)", "make(order: Order, at: int)").replace(
        "ctx.step(make, order)", "ctx.step(make, Order.model_validate(order), 3)"
    )
    report = against(life, new)
    assert report.divergence.kind is BreakageKind.INPUT
    assert report.divergence.cause.endswith("at is new: 3")
    assert [misfit.subject for misfit in report.misfits] == ["the arguments of step 'make'"]
    assert report.misfits[0].path == "at"


def test_new_optional_field_fits_and_only_inputs_differ():
    report = against(lived(), OPTIONAL)
    assert report.misfits == ()
    assert report.stop is None
    assert {found.recorded for found in report.differences} == {"step('make')", "return from the workflow"}


def test_old_form_is_read_by_a_validator():
    mended = RENAMED.replace(
        "cost: int",
        "cost: int\n\n    @model_validator(mode='before')\n    @classmethod\n    def old(cls, data):\n"
        "        return {'cost': data['price']} if isinstance(data, dict) and 'price' in data else data",
    )
    assert against(lived(), mended, strict=False).ok


def test_results_behind_the_divergence_go_by_their_names():
    source = """
    @step
    async def one() -> int:
        return 1

    @step
    async def two() -> int:
        return 2

    @workflow
    async def buy(ctx: Context) -> int:
        return await ctx.step(one) + await ctx.step(two)
    """
    life = Life(code_of(source), "buy")
    new = source.replace("async def one", "async def first").replace("step(one)", "step(first)")
    report = against(life, new.replace("two() -> int", "two() -> str"))
    assert report.stop.event == 2
    assert [(misfit.subject, misfit.event) for misfit in report.misfits] == [("the result of step 'two'", 5)]


def test_what_waits_to_be_applied_is_decoded():
    life = Life(code_of(FLOW), "buy", order_of)
    answer = Fact(EventKind.QUESTION_ANSWERED, max(life.replayer.open), None, None, life.envelope.seal('{"items":[]}'))
    signal = Fact(EventKind.SIGNAL_RECEIVED, None, "go", None, life.envelope.seal("3"))
    recording = replace(life.recording, unread=[answer, signal])
    report = replay_recording(recording, registry_of(code_of(FLOW)))
    assert [(misfit.event, misfit.subject) for misfit in report.misfits] == [(0, "the signal 'go'")]


def test_run_that_has_not_begun_is_judged_by_its_input():
    life = Life(code_of(FLOW), "buy", order_of)
    first = life.events[0]
    start = Fact(first.kind, None, first.name, first.detail, first.payload)
    recording = replace(life.recording, events=[], unread=[start])
    assert replay_recording(recording, registry_of(code_of(FLOW))).ok
    report = replay_recording(recording, registry_of(code_of(RENAMED)))
    assert report.findings == (
        Misfit(
            0,
            "RunStarted",
            "the input of workflow 'buy'",
            "order.items[0].cost",
            "buy(order)",
            report.misfits[0].problem,
        ),
    )


def test_encrypted_values_are_decoded_with_their_key():
    key = AesGcmCodec(b"k" * 32)
    life = lived(codecs=[key])
    assert [misfit.event for misfit in against(life, RENAMED, codecs=[key]).misfits] == [1, 3]
    assert against(life, RENAMED).misfits == ()
    assert against(life, RENAMED).divergence.kind is BreakageKind.UNREADABLE


def test_misfits_of_many_items_are_one_sort():
    first = Misfit(3, "StepCompleted", "the result of step 'make'", "items[0].cost", "Order", "x")
    assert first.key == replace(first, event=9, path="items[12].cost").key
    assert first.key != replace(first, path="items[0].price").key


def test_sound_deployment_has_no_misfit():
    assert deploy(FLOW, FLOW, everything, order_of).ok
