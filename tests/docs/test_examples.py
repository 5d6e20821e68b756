"""The examples and the README's program run as they are."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"

RUNS = {
    "hello.py": (["name=test"], "Hello, test!"),
    "order.py": (["customer=acme"], "3 items to acme"),
    "branching.py": (["amount=1200"], "approved up to 1000"),
    "fanout.py": (["pages=12"], "506"),
}


@pytest.mark.parametrize("name", RUNS)
def test_example_runs_to_its_end(name, tmp_path):
    inputs, expected = RUNS[name]
    command = [
        sys.executable,
        "-m",
        "runtime",
        "run",
        str(EXAMPLES / name),
        "--store",
        f"sqlite:///{tmp_path / 'a.db'}",
    ]
    for item in inputs:
        command += ["--input", item]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected in done.stdout


def test_readme_programs_run(tmp_path):
    workflow, application = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert len(workflow.splitlines()) <= 20
    (tmp_path / "shop.py").write_text(workflow)
    (tmp_path / "app.py").write_text(application)
    command = [sys.executable, "-m", "runtime", "run", "shop.py", "--input", "customer=acme"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 4, done.stderr
    assert "Ship to acme?" in done.stdout
    done = subprocess.run([sys.executable, "app.py"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("running", "waiting")


def load(name):
    sys.path.insert(0, str(EXAMPLES))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(EXAMPLES))


def test_deploy_is_undone_when_it_is_rejected(tmp_path):
    from durable.errors import RunFailedError
    from durable.handle import RollbackStatus
    from runtime import Runtime

    deploy = load("deploy").deploy

    async def scenario():
        async with Runtime(f"sqlite:///{tmp_path / 'a.db'}", workflows=[deploy]) as runtime:
            run = await runtime.start(deploy, "v1")
            await run.until_waiting("approval", timeout=30)
            await run.reject(by="bob", comment="not today")
            with pytest.raises(RunFailedError, match="not today"):
                await run.result(timeout=30)
            return (await run.row()).rollback

    assert asyncio.run(scenario()) is RollbackStatus.COMPLETED


def test_deploy_goes_on_when_it_is_approved(tmp_path):
    from runtime import Runtime

    deploy = load("deploy").deploy

    async def scenario():
        async with Runtime(f"sqlite:///{tmp_path / 'a.db'}", workflows=[deploy]) as runtime:
            run = await runtime.start(deploy, "v1")
            await run.until_waiting("approval", timeout=30)
            await run.approve(by="alice")
            return await run.result(timeout=30)

    assert asyncio.run(scenario()) == "https://example.test/v1"


def test_agent_asks_a_person(tmp_path):
    from runtime import Runtime

    agent = load("agent").agent

    async def scenario():
        async with Runtime(f"sqlite:///{tmp_path / 'a.db'}", workflows=[agent]) as runtime:
            run = await runtime.start(agent, "a table")
            await run.until_waiting("answer", timeout=30)
            await run.answer(4, by="ann")
            return await run.result(timeout=30)

    assert asyncio.run(scenario()) == "a table: two places for 'a table', 4 people"


def test_reminder_is_snoozed_and_ended_by_signals(tmp_path):
    from runtime import Runtime

    module = load("reminder")

    async def scenario():
        async with Runtime(f"sqlite:///{tmp_path / 'a.db'}", workflows=[module.reminder]) as runtime:
            run = await runtime.start(module.reminder, "water the plants", 30.0)
            await run.until_waiting("signal", timeout=30)
            await run.signal(module.done)
            await run.signal(module.snooze, 0.0000001)
            return await run.result(timeout=30)

    assert asyncio.run(scenario()) == 0


def test_asgi_app_starts_and_shows_runs(tmp_path, monkeypatch):
    import anyio.from_thread  # noqa: F401 - the test client's portal
    from starlette.testclient import TestClient

    monkeypatch.chdir(tmp_path)
    with TestClient(load("asgi_app").app) as client:
        assert client.get("/orders/acme").status_code == 404
        assert client.post("/orders/acme").json() == {"workflow_id": "order-acme"}
        assert client.get("/orders/acme").json()["workflow"] == "order"


def test_the_page_on_testing_begins_with_the_example_that_runs():
    block = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "testing.md").read_text(), re.DOTALL)[0]
    assert block.strip() in (EXAMPLES / "test_deploy.py").read_text()
