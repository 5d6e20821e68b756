"""Steering runs: one by one, and in bulk with a count first."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import Cli

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def started(cli: Cli, app: object) -> None:
    """Three runs that no worker has taken."""
    for number in range(3):
        assert cli("start", "app.py:naps", "--id", f"n{number}").code == 0
    assert cli("start", "app.py:hello", "--id", "h0").code == 0


def statuses(cli: Cli) -> dict[str, str]:
    return {run["workflow_id"]: run["status"] for run in cli("list", "--json").data["runs"]}


@pytest.mark.usefixtures("started")
def test_terminate_ends_a_run_with_its_reason(cli: Cli) -> None:
    ran = cli("terminate", "n0", "--reason", "enough")
    assert (ran.code, ran.out) == (0, "terminated: n0\n")
    run = cli("show", "n0", "--json").data["run"]
    assert (run["status"], run["reason"]) == ("terminated", "enough")


@pytest.mark.usefixtures("started")
def test_ended_run_refuses_with_6(cli: Cli) -> None:
    cli("terminate", "n0")
    for command in ("terminate", "cancel", "pause", "resume"):
        ran = cli(command, "n0")
        assert ran.code == 6
        assert "terminated" in ran.err
    assert cli("rollback", "n0").code == 6
    assert cli("retry", "n1").code == 6


@pytest.mark.usefixtures("started")
def test_several_ids_are_done_one_by_one_and_refusals_told(cli: Cli) -> None:
    ran = cli("terminate", "n0", "nobody", "n1")
    assert ran.code == 6
    assert ran.out == "terminated: n0\nterminated: n1\n"
    assert "refused: nobody: no run 'nobody'" in ran.err


@pytest.mark.usefixtures("started")
def test_bulk_counts_first_and_does_nothing_without_yes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ran = cli("terminate", "--workflow", "naps")
    assert ran.code == 2
    assert "3 runs selected in sqlite:///" in ran.err
    assert "--yes" in ran.err
    assert set(statuses(cli).values()) == {"pending"}


@pytest.mark.usefixtures("started")
def test_bulk_dry_run_only_counts(cli: Cli) -> None:
    ran = cli("cancel", "--prefix", "n", "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("3 runs selected in sqlite:///")
    assert cli("cancel", "--prefix", "n", "--dry-run", "--json").data["matched"] == 3
    assert set(statuses(cli).values()) == {"pending"}


@pytest.mark.usefixtures("started")
def test_bulk_with_yes_does_it_to_what_the_filters_select(cli: Cli) -> None:
    ran = cli("terminate", "--workflow", "naps", "--yes", "--json")
    assert ran.code == 0
    assert sorted(ran.data["done"]) == ["n0", "n1", "n2"]
    assert statuses(cli) == {"n0": "terminated", "n1": "terminated", "n2": "terminated", "h0": "pending"}


@pytest.mark.usefixtures("started")
def test_bulk_asks_on_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Person("n\ny\n"))
    assert cli("terminate", "--workflow", "naps").code == 2
    assert cli("terminate", "--workflow", "naps").code == 0
    assert list(statuses(cli).values()).count("terminated") == 3


@pytest.mark.usefixtures("started")
def test_bulk_by_default_selects_what_makes_sense(cli: Cli) -> None:
    cli("terminate", "n0")
    assert cli("terminate", "--workflow", "naps", "--dry-run", "--json").data["matched"] == 2
    assert cli("resume", "--workflow", "naps", "--dry-run", "--json").data["matched"] == 0
    assert cli("retry", "--workflow", "naps", "--dry-run", "--json").data["matched"] == 0
    assert cli("retry", "--workflow", "naps", "--status", "terminated", "--yes", "--json").data["done"] == ["n0"]


@pytest.mark.parametrize("command", ["cancel", "terminate", "pause", "resume", "retry"])
def test_bulk_needs_to_know_which_runs(cli: Cli, command: str) -> None:
    ran = cli(command, "--yes")
    assert ran.code == 2
    assert "give ids, or filters" in ran.err
    assert "not both" in cli(command, "x", "--workflow", "naps").err


def test_bulk_with_nothing_to_do_is_fine(cli: Cli) -> None:
    assert cli("cancel", "--workflow", "naps", "--yes").code == 0


@pytest.mark.usefixtures("started")
def test_pause_and_resume(cli: Cli) -> None:
    assert cli("pause", "--workflow", "hello", "--yes").out == "asked to pause: h0\n"
    assert cli("run", "app.py:hello", "--id", "h0").code == 4
    assert statuses(cli)["h0"] == "paused"
    assert cli("resume", "--status", "paused", "--yes").out == "resumed: h0\n"
    assert cli("run", "app.py:hello", "--id", "h0").code == 0


@pytest.mark.usefixtures("started")
def test_bulk_resume_takes_back_a_pause_that_no_worker_has_seen(cli: Cli) -> None:
    cli("pause", "h0")
    assert cli("pause", "--workflow", "hello", "--dry-run", "--json").data["matched"] == 0
    assert cli("terminate", "--status", "paused", "--dry-run", "--json").data["matched"] == 1
    assert cli("resume", "--workflow", "hello", "--yes").out == "resumed: h0\n"
    assert cli("resume", "--workflow", "hello", "--yes", "--json").data["matched"] == 0
    assert cli("run", "app.py:hello", "--id", "h0").code == 0


@pytest.mark.usefixtures("started")
def test_bulk_pause_sees_a_resume_that_no_worker_has_seen(cli: Cli) -> None:
    cli("pause", "n0")
    assert cli("run", "app.py:naps", "--id", "n0").code == 4
    cli("resume", "n0")
    assert cli("resume", "--status", "paused", "--dry-run", "--json").data["matched"] == 0
    assert cli("pause", "--prefix", "n0", "--yes").out == "asked to pause: n0\n"
    assert cli("run", "app.py:naps", "--id", "n0").code == 4


@pytest.mark.usefixtures("started")
def test_cancelled_run_exits_with_1_and_its_reason(cli: Cli) -> None:
    cli("cancel", "n0", "--reason", "too late", "--by", "alice")
    ran = cli("run", "app.py:naps", "--id", "n0")
    assert ran.code == 1
    assert "was cancelled: too late" in ran.err
    assert "cancellation requested too late  (by user:alice)" in cli("show", "n0").out


@pytest.mark.usefixtures("started")
def test_orders_name_their_principal(cli: Cli) -> None:
    cli("terminate", "n0", "--by", "alice")
    assert cli("history", "n0", "--json").events[-1]["actor"] == "user:alice"
    ran = cli("cancel", "n1", "--by", "")
    assert ran.code == 2


def test_retried_run_is_not_retried_again(cli: Cli) -> None:
    cli("run", "app.py:order", "-i", "amount=1", "--id", "o1")
    (first,) = cli("list", "--json").data["runs"]
    assert cli("retry", "--status", "failed", "--yes", "--json").data["done"] == ["o1"]
    assert cli("retry", "--status", "failed", "--yes", "--json").data["matched"] == 0
    again = cli("retry", first["run_id"])
    assert again.code == 6
    (second, _) = cli("list", "--json").data["runs"]
    assert f"was retried already by run {second['run_id']}, which is pending" in again.err
    assert f"retried as run {second['run_id']}, now pending" in cli("show", first["run_id"]).out
    assert "retried as run" in cli("list").out
    assert cli("run", "app.py:order", "-i", "amount=1", "--id", "o1").code == 1
    assert "retry that one: durable retry o1" in cli("retry", first["run_id"]).err
    assert cli("retry", "--status", "failed", "--yes", "--json").data["done"] == ["o1"]


def test_replaced_run_is_not_retried(cli: Cli) -> None:
    cli("run", "app.py:order", "-i", "amount=1", "--id", "o1")
    (first,) = cli("list", "--json").data["runs"]
    cli("start", "app.py:order", "-i", "amount=2", "--id", "o1", "--on-conflict", "replace")
    again = cli("retry", first["run_id"])
    assert again.code == 6
    assert "was replaced by run" in again.err
    assert cli("retry", "--status", "failed", "--yes", "--json").data["matched"] == 0


def test_children_of_failed_runs_are_left_to_the_retry_of_their_parents(
    cli: Cli, write: Callable[[str, str], Path]
) -> None:
    write("family.py", FAMILY)
    assert cli("run", "family.py:parent", "--id", "p1").code == 1
    assert [run["status"] for run in cli("list", "--json").data["runs"]] == ["failed", "failed"]
    assert cli("retry", "--status", "failed", "--yes", "--json").data["done"] == ["p1"]
    assert [run["status"] for run in cli("list", "--json").data["runs"]] == ["pending", "pending", "failed", "failed"]


FAMILY = """
from durable import Context, step, workflow

@step
async def fail() -> None:
    raise ConnectionError("down")

@workflow
async def child(ctx: Context) -> None:
    await ctx.step(fail)

@workflow
async def parent(ctx: Context) -> None:
    await ctx.child_workflow(child)
"""
