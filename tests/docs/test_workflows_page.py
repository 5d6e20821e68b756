"""The Python of docs/workflows.md is one module, and every workflow in it does what the page says."""

import asyncio
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from durable.errors import MessageRejectedError, RunFailedError, UpdateFailedError
from durable.workflow import WorkflowDefinition
from runtime import Runtime

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "workflows.md"


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    """The module."""
    path = tmp_path_factory.mktemp("guide") / "guide.py"
    path.write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)))
    spec = importlib.util.spec_from_file_location("guide", path)
    module = sys.modules["guide"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["guide"]


@pytest.fixture(params=[1000, 0], ids=["kept", "evicted"])
async def client(request, guide):
    """A runtime that serves all of it."""
    async with Runtime("memory://", workflows=workflows_of(guide).values(), cache_size=request.param) as runtime:
        yield runtime


def workflows_of(module):
    found = (value for value in vars(module).values() if isinstance(value, WorkflowDefinition))
    return {definition.name: definition for definition in found}


async def run_options(client, guide):
    run = await client.start(guide.by_hand)
    assert run.workflow_id == "order-7"
    assert await run.result(timeout=30) == "charged 7 as :1"


async def run_crawl_all(client, guide):
    run = await client.start(guide.crawl_all, 2)
    assert await run.result(timeout=30) == ["page 0", "page 1", "no page -1"]


async def run_election(client, guide):
    assert await asyncio.wait_for(guide.hold(client), 30) == "ann"


async def run_basket(client, guide):
    assert await asyncio.wait_for(guide.shop(client), 30) == (1, 1, ["SOAP"])
    run = await client.start(guide.basket)
    with pytest.raises(MessageRejectedError, match="an item needs a name"):
        await run.update(guide.add, "")


async def run_impatient(client, guide):
    run = await client.start(guide.impatient)
    with pytest.raises(UpdateFailedError, match="the run has ended"):
        await asyncio.wait_for(run.update(guide.add, "soap"), 30)
    assert await run.result(timeout=30) == "closed"


async def run_release(client, guide):
    for decide, expected in (
        ("approve", "v1 to beta, approved by user:ann"),
        ("reject", "user:ann said no: too early"),
    ):
        run = await client.start(guide.release.options(id=decide), "v1")
        await run.until_waiting("channel", timeout=30)
        await run.answer("beta", by="bob", key="channel")
        await run.until_waiting("go", timeout=30)
        await getattr(run, decide)(by="ann", comment="too early", key="go")
        assert await run.result(timeout=30) == expected


async def run_report(client, guide):
    lines, progress, found = await asyncio.wait_for(guide.follow(client), 30)
    assert (lines, progress, found) == (["page 0", "page 1"], {"done": 2, "of": 2}, ["report-1"])


async def run_build(client, guide):
    guide.tokens.clear()
    run = await client.start(guide.build, "wheel")
    await run.until_waiting("order_parts", timeout=30)
    await guide.deliver(client, guide.tokens[0])
    assert await run.result(timeout=30) == "built with part 7"


async def run_meter(client, guide):
    run = await client.start(guide.meter)
    for number in (1, 2, 3):
        await run.signal(guide.tick, number)
    assert await run.result(timeout=30) == 6


async def run_careful(client, guide):
    run = await client.start(guide.careful)
    assert await run.result(timeout=30) == "done"
    (line,) = await run.logs()
    assert line.message.startswith("page 1 is empty\nTraceback")


async def run_crawl(client, guide):
    run = await client.start(guide.crawl, 1)
    assert await run.result(timeout=30) == "page 1"


SCENARIOS = {name.removeprefix("run_"): run for name, run in list(globals().items()) if name.startswith("run_")}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_example_does_what_the_page_says(client, guide, name):
    await SCENARIOS[name](client, guide)


async def test_interceptor_sees_steps_and_failures(guide):
    watch = guide.Watch()
    async with Runtime("memory://", workflows=[guide.crawl], interceptors=[watch]) as runtime:
        await (await runtime.start(guide.crawl, 1)).result(timeout=30)
        with pytest.raises(RunFailedError):
            await (await runtime.start(guide.crawl, -1)).result(timeout=30)
        async with asyncio.timeout(30):
            while len(watch.seen) < 2:
                await asyncio.sleep(0)
    assert watch.seen == ["step fetch", "crawl failed: ValueError: no page -1"]


def test_every_workflow_of_the_page_is_run(guide):
    assert set(SCENARIOS) == set(workflows_of(guide))
