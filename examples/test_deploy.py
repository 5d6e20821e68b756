"""Unit tests of ``deploy.py``: ``pytest examples``. Hours pass in a millisecond, and nobody is asked."""

from datetime import timedelta

import pytest
from deploy import Database, create_database, deploy, drop_database, stage, switch_traffic

from durable.errors import RunFailedError
from durable.testing import WorkflowEnvironment


@pytest.fixture(autouse=True)
def prepared(durable_env: WorkflowEnvironment) -> None:
    durable_env.stub(create_database, returns=Database(id="db-1", version="v1"), after=timedelta(minutes=5))
    durable_env.stub(drop_database)
    durable_env.allow(switch_traffic)  # runs for real


async def test_goes_live_when_somebody_says_yes(durable_env: WorkflowEnvironment) -> None:
    run = await durable_env.start(deploy, "v1")
    await run.until_waiting("approval")
    assert await run.query(stage) == "waiting for approval"
    await run.approve(by="alice")
    assert await run.result() == "https://example.test/v1"
    assert durable_env.calls(drop_database) == []


async def test_is_undone_when_nobody_decides_within_an_hour(durable_env: WorkflowEnvironment) -> None:
    began = durable_env.now()
    run = await durable_env.start(deploy, "v1")
    with pytest.raises(RunFailedError, match="nobody decided in time"):
        await run.result()
    assert durable_env.now() - began == timedelta(minutes=65)
    assert [call.arguments["database"].id for call in durable_env.calls(drop_database)] == ["db-1"]


async def test_survives_a_crash_while_it_waits(durable_env: WorkflowEnvironment) -> None:
    run = await durable_env.start(deploy, "v1")
    await run.until_waiting("approval")
    durable_env.crash()
    await run.approve(by="alice")
    assert await run.result() == "https://example.test/v1"
    assert len(durable_env.calls(create_database)) == 1


async def test_a_database_that_is_not_there_at_once_is_tried_again(durable_env: WorkflowEnvironment) -> None:
    durable_env.stub(create_database, sequence=[ConnectionError("busy"), Database(id="db-2", version="v1")])
    run = await durable_env.start(deploy, "v1")
    await run.until_waiting("approval")
    assert [call.attempt for call in durable_env.calls(create_database)] == [1, 2]
