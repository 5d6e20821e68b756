"""Messages and answers from the command line, as far as no worker is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.command import Cli

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def deploying(cli: Cli, app: object) -> None:
    assert cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1").code == 4


def test_signal_is_taken_by_the_run(cli: Cli) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    assert cli("signal", "w1", "go", "7", "--by", "alice").out == "signal go sent to w1\n"
    assert cli("run", "app.py:waits", "--id", "w1").out.splitlines()[-1] == "7"
    assert "✓ signal go 7  (by user:alice)" in cli("show", "w1").out


def test_signal_with_a_message_id_is_delivered_once(cli: Cli) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    for _ in range(2):
        assert cli("signal", "w1", "go", "7", "--message-id", "m1", "--json").code == 0
    cli("run", "app.py:waits", "--id", "w1")
    assert cli("show", "w1").out.count("signal go") == 1


def test_signal_that_does_not_fit_its_schema_is_refused_with_2(cli: Cli) -> None:
    cli("run", "app.py:hello")  # publishes the definitions of the module
    cli("start", "app.py:waits", "--id", "w1")
    ran = cli("signal", "w1", "go", "many")
    assert ran.code == 2
    assert "expected integer, got 'many'" in ran.err


def test_value_may_be_in_a_file_and_must_be_json_there(cli: Cli, folder: Path) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    (folder / "value.json").write_text("[1,")
    ran = cli("signal", "w1", "go", "@value.json")
    assert ran.code == 2
    assert "line 1, column 4" in ran.err
    assert "cannot be read" in cli("signal", "w1", "go", "@nothing.json").err


@pytest.mark.usefixtures("deploying")
def test_approval_and_answer_record_who_and_why(cli: Cli) -> None:
    assert cli("approve", "d1", "--by", "alice", "--comment", "fine").out == "approved d1\n"
    assert cli("run", "app.py:deploy", "--id", "d1").code == 4
    assert cli("answer", "d1", '{"region": "eu", "size": 1}', "--by", "bob").out == "answered d1\n"
    assert cli("run", "app.py:deploy", "--id", "d1").out.splitlines()[-1] == "v1 in eu x1, user:alice: fine"
    out = cli("show", "d1").out
    assert "(by user:alice)" in out
    assert "(by user:bob)" in out


@pytest.mark.usefixtures("deploying")
def test_answers_that_do_not_fit_the_question_are_refused(cli: Cli) -> None:
    assert "is an approval" in cli("answer", "d1", "1", "--key", "go").err
    ran = cli("approve", "d1", "--key", "nothing")
    assert ran.code == 3
    assert "(open: 'go' (approval))" in ran.err
    cli("approve", "d1")
    cli("run", "app.py:deploy", "--id", "d1")
    ran = cli("answer", "d1", '{"region": 3}')
    assert ran.code == 2
    assert "region" in ran.err
    assert cli("answer", "d1", '{"region": "eu"').err.startswith("error: [DUR2005] the answer is not JSON")


def test_query_nobody_answers_exits_with_8(cli: Cli) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    ran = cli("query", "w1", "progress", "--timeout", "10ms")
    assert ran.code == 8
    assert "waiting 10ms for one" in ran.err
    assert "start one: durable worker TARGET" in ran.err


def test_update_nobody_does_in_time_exits_with_8_and_is_not_lost(cli: Cli) -> None:
    cli("start", "app.py:waits", "--id", "w1")
    ran = cli("update", "w1", "add", "1", "--timeout", "10ms")
    assert ran.code == 8
    assert "it is not lost" in ran.err


def test_start_prints_the_id_and_runs_nothing(cli: Cli) -> None:
    ran = cli("start", "app.py:hello", "--id", "h1", "-i", "name=Ada")
    assert ran.out == "h1\n"
    assert cli("show", "h1", "--json").data["run"]["status"] == "pending"
    assert cli("run", "app.py:hello", "--id", "h1").out.splitlines()[-1] == "Hello, Ada!"


def test_start_by_the_name_that_a_worker_published(cli: Cli) -> None:
    cli("run", "app.py:hello")
    assert cli("start", "hello", "--id", "h1", "-i", "name=1.0", "-i", "times=2").code == 0
    assert cli("run", "app.py:hello", "--id", "h1").out.splitlines()[-1] == "Hello, 1.0!Hello, 1.0!"
    ran = cli("start", "hello", "-i", "times=many")
    assert ran.code == 2
    assert "times" in ran.err


def test_start_can_be_delayed_and_routed(cli: Cli) -> None:
    cli("start", "app.py:hello", "--id", "h1", "--delay", "1d", "--queue", "night")
    run = cli("show", "h1", "--json").data["run"]
    assert run["queue"] == "night"
    assert run["next_at"] > run["created_at"]


def test_start_wait_prints_the_result_of_an_ended_run(cli: Cli) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    assert cli("start", "app.py:hello", "--id", "h1", "--wait").out == "h1\nHello, world!\n"
    assert cli("start", "app.py:hello", "--id", "h1", "--wait", "--json").events[-1]["result"] == "Hello, world!"


def test_misfit_is_refused_before_anybody_waits(cli: Cli, folder: Path) -> None:
    (folder / "adds.py").write_text(
        "from durable import Context, Update, workflow\n"
        "add = Update('add', int, returns=int)\n\n"
        "@workflow(messages=[add])\nasync def adds(ctx: Context) -> None:\n    await ctx.ask_approval('go?')\n"
    )
    assert cli("run", "adds.py", "--id", "a1").code == 4
    ran = cli("update", "a1", "add", "many", "--timeout", "1s")
    assert ran.code == 2
    assert "waiting" not in ran.err
    ran = cli("query", "a1", "add", "--timeout", "1s")
    assert ran.code == 3
    assert "waiting" not in ran.err


def test_context_of_a_question_is_json(cli: Cli, folder: Path) -> None:
    (folder / "asks.py").write_text(
        "from durable import Context, workflow\n\n@workflow\nasync def asks(ctx: Context) -> None:\n"
        "    await ctx.ask_approval('go?', context={'a': None, 'b': True})\n"
    )
    cli("run", "asks.py", "--id", "a1")
    assert 'context: {"a":null,"b":true}' in cli("inbox").out
