"""What a message says to type next works when it is typed."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import Cli

Write = Callable[[str, str], Path]

CODECS = """
    from durable.codec import AesGcmCodec

    codecs = [AesGcmCodec(bytes(32))]
"""

PAYLOADS = """
    from typing import Any

    from durable import Context, heartbeat, step, workflow


    class Odd:
        pass


    @step
    async def gives() -> dict[str, Any]:
        return {"a": [1, Odd()]}


    @step
    async def takes(n: dict[str, Any]) -> None: ...


    @workflow
    async def result_of_step(ctx: Context) -> None:
        await ctx.step(gives)


    @workflow
    async def argument_of_step(ctx: Context) -> None:
        await ctx.step(takes, {"b": [Odd()]})


    @workflow
    async def argument_of_undo(ctx: Context) -> None:
        ctx.compensate(takes, {"b": [Odd()]})


    @workflow
    async def argument_of_child(ctx: Context) -> None:
        await ctx.child_workflow(child, {"b": [Odd()]})


    @workflow
    async def child(ctx: Context, n: dict[str, Any]) -> None: ...


    @workflow
    async def own_result(ctx: Context) -> dict[str, Any]:
        return {"c": Odd()}
"""


def typed(line: str) -> list[str]:
    """The arguments of the command at the end of a line."""
    return shlex.split(line[line.index("durable ") :])[1:]


@pytest.mark.usefixtures("app")
def test_taken_id_names_the_ways_out(cli: Cli) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    for args in (["-i", "name=Ada"], ["-i", "name=world", "--on-conflict", "fail"]):
        ran = cli("start", "app.py:hello", "--id", "h1", *args)
        assert ran.code == 6
        assert "DUR3002" in ran.err
        assert "--id and --on-conflict" in ran.err
    ran = cli("run", "app.py:naps", "--id", "h1")
    assert ran.code == 6
    assert "'h1' is a run of workflow 'hello', not 'naps': choose another --id" in ran.err
    assert "--on-conflict replace" in ran.err


@pytest.mark.usefixtures("app")
def test_hints_name_store_and_codecs_where_they_were_given(cli: Cli, write: Write) -> None:
    write("keys.py", CODECS)
    flags = ["--store", "sqlite:///other.db", "--codecs", "keys:codecs"]
    ran = cli("run", "app.py:deploy", "--id", "d1", "-i", "version=v1", *flags)
    assert ran.code == 4
    approve, _, again = (line for line in ran.out.splitlines() if "durable " in line)
    assert cli(*typed(approve)).code == 0
    ran = cli(*typed(again))
    assert ran.code == 4
    assert [line for line in ran.out.splitlines() if "durable answer d1" in line]


@pytest.mark.usefixtures("app")
def test_commands_of_an_encrypted_run_ask_for_codecs(cli: Cli, write: Write) -> None:
    write("keys.py", CODECS)
    cli("run", "app.py:deploy", "--id", "d1", "-i", "version=v1", "--codecs", "keys:codecs")
    for shown in (cli("show", "d1").out, cli("inbox").out):
        approve = next(line for line in shown.splitlines() if "durable approve" in line)
        assert approve.endswith("--codecs MODULE:NAME")
    ran = cli("approve", "d1", "--comment", "looks fine")
    assert ran.code == 2
    assert "the workers of workflow 'deploy' encrypt its values (aes-gcm)" in ran.err
    assert cli("start", "deploy", "-i", "version=v2").code == 2
    assert cli("run", "app.py:deploy", "-i", "version=v2").code == 2
    ran = cli(*typed(approve.replace("MODULE:NAME", "keys:codecs")))
    assert ran.code == 0
    assert "--codecs keys:codecs" in ran.err


@pytest.mark.usefixtures("app")
def test_missing_codec_says_what_to_give(cli: Cli, write: Write) -> None:
    write("keys.py", CODECS)
    cli("start", "app.py:hello", "--id", "h1", "--codecs", "keys:codecs")
    ran = cli("run", "app.py:hello", "--id", "h1")
    assert ran.code == 5
    assert "needs the codec 'aes-gcm'" in ran.err
    assert "--codecs MODULE:NAME" in ran.err
    assert cli("run", "app.py:hello", "--id", "h1", "--codecs", "keys:codecs").code == 0


def test_failed_run_says_how_to_look_and_how_to_try_again(cli: Cli, app: Path) -> None:
    ran = cli("run", "app.py:order", "-i", "amount=1", "--id", "o 1", "--store", "sqlite:///other.db")
    assert ran.code == 1
    hint = ran.err.splitlines()[-1]
    look, again = hint.removeprefix("see: ").split("; again: ")
    retry, run = again.split(", then ")
    assert cli(*typed(look)).code == 0
    assert cli(*typed(retry)).code == 0
    assert cli(*typed(run)).code == 1


@pytest.mark.parametrize(
    ("workflow", "words"),
    [
        ("result_of_step", "the result of step 'gives': expected a[1] to be"),
        ("argument_of_step", "the arguments of step 'takes': expected n.b[0] to be"),
        ("argument_of_undo", "the arguments of compensation 'takes': expected n.b[0] to be"),
        ("argument_of_child", "the arguments of child workflow 'child': expected n.b[0] to be"),
        ("own_result", "the result of workflow 'own_result': expected c to be"),
    ],
)
def test_value_that_cannot_be_recorded_is_named_with_its_owner(
    cli: Cli, write: Write, workflow: str, words: str
) -> None:
    write("payloads.py", PAYLOADS)
    ran = cli("run", f"payloads.py:{workflow}", "--id", "p1", "--log-level", "error")
    assert ran.code == 1
    assert words in ran.err
    assert "durable/codec" not in ran.err
    assert words in cli("show", "p1").out


# -- what waits for a worker ------------------------------------------------------------------------------


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["start", "app.py:waits", "--id", "w2"], "durable run TARGET --id w2"),
        (["signal", "w1", "go", "1"], "durable run TARGET --id w1"),
        (["pause", "w1"], "durable run TARGET --id w1"),
        (["cancel", "w1"], "durable run TARGET --id w1"),
        (["approve", "d1"], "durable run TARGET --id d1"),
    ],
)
def test_what_needs_a_worker_says_so_where_none_is(cli: Cli, args: list[str], told: str) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    cli("run", "app.py:deploy", "--id", "d1", "-i", "version=v1")
    ran = cli(*args)
    assert ran.code == 0
    assert "is running; it goes on with: durable worker TARGET" in ran.err
    assert told in ran.err
    assert cli(*args[:2], "--id", "w3", "--json").err == "" if args[0] == "start" else True


@pytest.mark.usefixtures("app")
def test_show_tells_what_no_worker_has_looked_at(cli: Cli) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    cli("signal", "w1", "go", "1")
    cli("pause", "w1")
    out = cli("show", "w1").out
    assert "unread     signal 'go', pause (the next worker that takes the run looks at it)" in out
    assert "worker     none that has this workflow is running" in out
    assert "no worker that has its workflow is running" in cli("list").out
    assert cli("show", "w1", "--json").data["run"]["unread"] == ["signal 'go'", "pause"]


@pytest.mark.usefixtures("app")
def test_answered_question_is_not_asked_again(cli: Cli) -> None:
    cli("run", "app.py:deploy", "--id", "d1", "-i", "version=v1")
    assert "durable approve d1" in cli("show", "d1").out
    cli("approve", "d1")
    assert "durable approve d1" not in cli("show", "d1").out
    assert cli("inbox", "--json").data["questions"] == []
    for args in (["approve", "d1"], ["reject", "d1", "--key", "go"]):
        ran = cli(*args)
        assert ran.code == 3
        assert "question 'go' of 'd1' has its answer already" in ran.err


@pytest.mark.usefixtures("app")
def test_signal_that_is_not_published_may_be_a_slip(cli: Cli) -> None:
    cli("run", "app.py:hello")  # it publishes what its file has
    cli("start", "app.py:waits", "--id", "w1")
    ran = cli("signal", "w1", "og", "1")
    assert ran.code == 0
    assert "publishes no signal 'og' (published: go)" in ran.err
    assert "publishes no" not in cli("signal", "w1", "go", "1").err


@pytest.mark.usefixtures("app")
def test_run_that_was_terminated_before_its_first_turn_keeps_its_input(cli: Cli) -> None:
    cli("start", "app.py:hello", "--id", "h1", "-i", "name=Ada")
    assert cli("terminate", "h1", "--reason", "wait").code == 0
    assert '▶ run started {"name":"Ada"}' in cli("show", "h1").out
    assert cli("history", "h1", "--verify").code == 0
    assert cli("retry", "h1").code == 0
    assert cli("run", "app.py:hello", "--id", "h1").out.splitlines()[-1] == "Hello, Ada!"


def test_step_whose_process_dies_is_told_in_a_line(cli: Cli, write: Write) -> None:
    write(
        "dies.py",
        """
        import os

        from durable import Context, step, workflow

        @step(isolation="process")
        def dies() -> None:
            os._exit(3)

        @workflow
        async def doomed(ctx: Context) -> None:
            await ctx.step(dies)
        """,
    )
    ran = cli("run", "dies.py", "--id", "d1", "--log-level", "error")
    assert ran.code == 1
    assert "StepError: the process of step 'dies' died with exit code 3" in ran.err
    assert "anyio" not in ran.err
    assert "anyio" not in cli("show", "d1").out


IN_DOUBT = """
from durable import Context, step, workflow

@step(delivery="at_most_once")
async def pay() -> None:
    raise ConnectionError("no answer")

@workflow
async def pays(ctx: Context) -> None:
    await ctx.step(pay)
"""


def test_failed_step_that_runs_at_most_once_is_not_said_to_run_again(cli: Cli, write: Write) -> None:
    write("once.py", IN_DOUBT)
    for _ in range(2):
        ran = cli("run", "once.py", "--id", "o1")
        assert ran.code == 1
        hint = ran.err.splitlines()[-1]
        assert "step 'pay' runs at most once" in hint
        assert "begin anew with another --id" in hint
        assert "again: durable retry" not in hint
        assert cli("retry", "o1").code == 0
