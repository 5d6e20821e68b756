"""Serving and being asked to end: ``worker`` and ``run`` in this process, with signals that the steps send themselves."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import Cli
from durable.errors import StoreUnavailableError
from runtime.cli import serve, watch
from runtime.cli.interrupt import Interrupts
from runtime.client.handle import RunHandle

Write = Callable[[str, str], Path]

ENDS = """
    import os
    import signal

    from durable import Context, step, workflow

    @step
    async def ends(number: int) -> str:
        os.kill(os.getpid(), number)
        return "finished"

    @workflow
    async def last(ctx: Context, number: int = int(signal.SIGTERM)) -> str:
        text = await ctx.step(ends, number)
        await ctx.sleep(3600)
        return text
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_worker_ends_well_and_keeps_what_its_steps_did(cli: Cli, write: Write, number: signal.Signals) -> None:
    write("app.py", ENDS)
    cli("start", "app.py", "--id", "r1", "-i", f"number={int(number)}")
    ran = cli("worker", "app.py", "--log-format", "human")
    assert ran.code == 0
    assert "serves last and 1 step, queues default" in ran.err
    assert "stopped" in ran.err
    (step,) = [entry for entry in cli("show", "r1", "--json").data["timeline"] if entry["kind"] == "step"]
    assert (step["state"], step["result"]) == ("done", "finished")


def test_worker_logs_json_on_request(cli: Cli, write: Write) -> None:
    write("app.py", ENDS)
    cli("start", "app.py")
    assert all(line.startswith('{"at": ') for line in cli("worker", "app.py", "--json").err.splitlines())


def test_handlers_of_signals_are_put_back(cli: Cli, write: Write) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    write("app.py", ENDS)
    cli("run", "app.py")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_interrupted_run_exits_with_130_and_says_how_to_go_on(cli: Cli, write: Write) -> None:
    write("app.py", ENDS)
    ran = cli("run", "app.py", "--id", "r1", "--queue", "a", "--store", "sqlite:///s.db")
    assert ran.code == 130
    assert "interrupted" in ran.err
    last = "durable run app.py --queue a --id r1 --store sqlite:///s.db"
    assert ran.out.splitlines()[-1] == f"nothing is lost; go on: {last}"
    ran = cli("run", "app.py", "--id", "r2", "--json")
    assert ran.events[-1] == {"event": "interrupted", "workflow_id": "r2", "resume": "durable run app.py --id r2"}


CROWD = """
    import asyncio

    from durable import Context, step, workflow

    inside = most = 0

    @step
    async def enters(number: int) -> int:
        global inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(20):
            await asyncio.sleep(0)
        inside -= 1
        return most

    @workflow
    async def crowd(ctx: Context) -> int:
        return max(await asyncio.gather(*(ctx.step(enters, number) for number in range(6))))
"""


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_steps_run_at_once_than_the_flag_allows(cli: Cli, write: Write, most: int) -> None:
    write("app.py", CROWD)
    ran = cli("run", "app.py", "--max-concurrent-steps", str(most), "--json")
    assert ran.events[-1]["result"] == most


def test_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)

    async def main() -> None:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(interrupts.asked.wait(), 30)
            assert ended == []
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0)

    asyncio.run(main())
    assert ended == [130]


@pytest.mark.usefixtures("app")
def test_store_that_is_away_for_a_moment_ends_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = {"result": 2, "look": 2}
    result, look = RunHandle.result, watch.Watch._look

    async def no_result(self, timeout=None):
        failures["result"] -= 1
        if failures["result"] >= 0:
            raise StoreUnavailableError("locked")
        return await result(self, timeout)

    async def no_look(self):
        failures["look"] -= 1
        if failures["look"] >= 0:
            raise StoreUnavailableError("locked")
        return await look(self)

    monkeypatch.setattr(RunHandle, "result", no_result)
    monkeypatch.setattr(watch.Watch, "_look", no_look)
    monkeypatch.setattr(serve, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0)
    ran = cli("run", "app.py:deploy", "-i", "version=v1", "--log-format", "human")
    assert ran.code == 4
    assert "the store is not available, trying again" in ran.err
    assert failures["look"] < 0


def test_outcomes_for_programs_are_events(cli: Cli, app: Path, write: Write) -> None:
    failed = cli("run", "app.py:order", "-i", "amount=1", "--json")
    assert failed.code == 1
    assert failed.events[-1]["status"] == "failed"
    assert failed.events[-1]["error"]["code"] == "DUR4051"
    write(
        "stuck.py",
        """
        import time
        from durable import Context, workflow

        @workflow
        async def clock(ctx: Context) -> float:
            return time.time()
        """,
    )
    stuck = cli("run", "stuck.py", "--id", "c1", "--json")
    assert stuck.code == 5
    assert stuck.events[-1]["status"] == "stuck"
    assert "time.time" in stuck.events[-1]["reason"]


def test_many_ended_operations_are_summed_up(cli: Cli, write: Write) -> None:
    write(
        "many.py",
        """
        import asyncio
        from durable import Context, step, workflow

        @step
        async def one(number: int) -> int:
            return number

        @workflow
        async def many(ctx: Context) -> int:
            return sum(await asyncio.gather(*(ctx.step(one, number) for number in range(200))))
        """,
    )
    ran = cli("run", "many.py", "--log-format", "human")
    assert ran.out.splitlines()[-1] == str(sum(range(200)))
    assert "more ended" in ran.err
    assert len(ran.err.splitlines()) < 200


@pytest.mark.usefixtures("app")
def test_result_that_is_no_text_is_printed_as_json(cli: Cli, write: Write) -> None:
    write(
        "kinds.py",
        """
        from durable import Context, workflow

        @workflow
        async def table(ctx: Context) -> dict[str, int]:
            return {"a": 1}

        @workflow
        async def nothing(ctx: Context) -> None: ...
        """,
    )
    assert cli("run", "kinds.py:table").out.splitlines()[1:] == ["{", '  "a": 1', "}"]
    assert len(cli("run", "kinds.py:nothing").out.splitlines()) == 1


def test_secret_result_is_not_printed(cli: Cli, folder: Path, write: Write) -> None:
    (folder / "keys.py").write_text("from durable.codec import AesGcmCodec\ncodecs = [AesGcmCodec(bytes(32))]\n")
    write(
        "secret.py",
        """
        from durable import Context, Secret, workflow

        @workflow
        async def token(ctx: Context) -> Secret[str]:
            return Secret("hunter2")
        """,
    )
    ran = cli("run", "secret.py", "--codecs", "keys:codecs")
    assert ran.code == 0, ran.err
    assert "hunter2" not in ran.out + ran.err
