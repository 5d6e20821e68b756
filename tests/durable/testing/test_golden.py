"""Golden histories: compared without times and ids, written on request."""

import pytest
from tested_shop import Declined, fetch, flaky, month, plain

from durable.testing import WorkflowEnvironment, assert_history, plain_history

pytestmark = pytest.mark.anyio


async def test_a_history_equals_its_golden_file_whatever_the_time_and_the_ids(durable_env, tmp_path):
    path = tmp_path / "goldens" / "plain.json"
    durable_env.stub(fetch, returns="x")
    run = await durable_env.start(plain.options(id="one"), "a")
    await run.result()
    with pytest.raises(
        AssertionError, match=r"there is no golden history .*plain.json; write it with: pytest --durable"
    ):
        assert_history(run, path)
    assert_history(run, path, update=True)
    await durable_env.advance(100)
    again = await durable_env.start(plain.options(id="two"), "a")
    await again.result()
    assert_history(again, path)
    assert_history(await again.history(), path)
    durable_env.stub(fetch, returns="y")
    other = await durable_env.start(plain.options(id="three"), "a")
    await other.result()
    with pytest.raises(AssertionError) as caught:
        assert_history(other, path)
    assert '-{"kind":"RunCompleted","value":"x"}' in str(caught.value)
    assert '+{"kind":"RunCompleted","value":"y"}' in str(caught.value)


async def test_failures_are_told_by_class_and_message(durable_env):
    durable_env.stub(fetch, raises=Declined("4000"))
    run = await durable_env.start(plain, "a")
    with pytest.raises(Exception, match="4000"):
        await run.result()
    failed = [event for event in plain_history(run.events) if event["kind"] in ("StepFailed", "RunFailed")]
    assert [event["value"] for event in failed] == [{"type": "Declined", "message": "4000"}] * 2


async def test_another_seed_gives_the_same_plain_history():
    histories = []
    for seed in (1, 2):
        async with WorkflowEnvironment(seed=seed) as env:
            env.stub(flaky, returns=1)
            run = await env.start(month)
            await run.result()
            histories.append(plain_history(run.events))
    assert histories[0] == histories[1]
