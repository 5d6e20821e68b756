"""Steering runs, one by one or in bulk: ``cancel``, ``terminate``, ``pause``, ``resume``, ``retry``."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.exitcode import ExitCode
from runtime.cli.options import (
    Actor,
    Attribute,
    By,
    Json,
    Prefix,
    Rollback,
    StartedAfter,
    StartedBefore,
    Status,
    Store,
    Workflow,
)

if TYPE_CHECKING:
    from runtime.cli.filter import Flags
    from runtime.cli.session import Session
    from runtime.client.client import Client
    from runtime.client.handle import RunHandle

RunIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Which runs; without ids, those that the filters select.", show_default=False),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; visible everywhere.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="In bulk: do not ask, after the count.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="In bulk: only count.")]


@dataclass(frozen=True)
class Order:
    """What is to be done with each run.

    Attributes:
        verb, done: ``cancel``, ``asked to cancel``.
        act: does it, with the reason that was given.
        statuses: those that make sense, when no status is given in bulk.
    """

    verb: str
    done: str
    act: Callable[[Any, str], Awaitable[Any]]
    statuses: tuple[str, ...]


def _plain(order: Order, doc: str) -> Callable[..., int]:
    """A command that takes ids or filters."""

    def command(
        run_ids: RunIds = None,
        status: Status = None,
        workflow: Workflow = None,
        prefix: Prefix = None,
        actor: Actor = None,
        started_after: StartedAfter = None,
        started_before: StartedBefore = None,
        attribute: Attribute = None,
        rollback: Rollback = None,
        yes: Yes = False,
        dry_run: DryRun = False,
        store: Store = None,
        by: By = None,
        as_json: Json = False,
    ) -> int:
        flags = _flags(status, workflow, prefix, actor, started_after, started_before, attribute, rollback)
        return _carry_out(order, run_ids, flags, _session(store, as_json, by), "", yes=yes, dry_run=dry_run)

    command.__name__, command.__doc__ = order.verb, doc
    return command


def _reasoned(order: Order, doc: str) -> Callable[..., int]:
    """A command that takes ids or filters, and a reason."""

    def command(
        run_ids: RunIds = None,
        reason: Reason = "",
        status: Status = None,
        workflow: Workflow = None,
        prefix: Prefix = None,
        actor: Actor = None,
        started_after: StartedAfter = None,
        started_before: StartedBefore = None,
        attribute: Attribute = None,
        rollback: Rollback = None,
        yes: Yes = False,
        dry_run: DryRun = False,
        store: Store = None,
        by: By = None,
        as_json: Json = False,
    ) -> int:
        flags = _flags(status, workflow, prefix, actor, started_after, started_before, attribute, rollback)
        return _carry_out(order, run_ids, flags, _session(store, as_json, by), reason, yes=yes, dry_run=dry_run)

    command.__name__, command.__doc__ = order.verb, doc
    return command


_OPEN = ("pending", "running", "waiting", "paused", "stuck")

cancel = _reasoned(
    Order("cancel", "asked to cancel", lambda run, reason: run.cancel(reason), _OPEN),
    "Ask runs to cancel.\n\nTheir code may clean up, and what was done is rolled back; paused runs go on to do so.",
)
terminate = _reasoned(
    Order("terminate", "terminated", lambda run, reason: run.terminate(reason), _OPEN),
    "End runs at once.\n\nTheir code does not run, and nothing is rolled back.",
)
pause = _plain(
    Order("pause", "asked to pause", lambda run, _: run.pause(), ("pending", "running", "waiting")),
    "Give runs no more turns.\n\nSteps in flight finish, their results are kept; runs that have not begun do not begin. A cancellation ends a pause.",
)
resume = _plain(
    Order("resume", "resumed", lambda run, _: run.resume(), ("paused", "stuck")),
    "Go on with paused or stuck runs.",
)
retry = _plain(
    Order("retry", "retried", lambda run, _: run.retry(), ("failed",)),
    "Run failed runs again from before the failure.\n\nIn bulk those that failed are meant; for others that ended badly add --status cancelled "
    "or --status terminated. What was done stays done, children that failed with them go on as well. A run that was rolled back "
    "begins anew, with new idempotency keys.",
)


# -- in bulk ----------------------------------------------------------------------------------------------


def _session(store: str | None, as_json: bool, by: str | None) -> Session:
    from runtime.cli.session import Session

    return Session(store, None, as_json, by)


def _flags(*given: Any) -> Flags:
    from runtime.cli.filter import Flags

    return Flags(*given)


def _carry_out(
    order: Order, run_ids: list[str] | None, flags: Flags, session: Session, reason: str, *, yes: bool, dry_run: bool
) -> int:
    from durable.errors import ConfigurationError

    if run_ids and flags.is_given:
        raise ConfigurationError(f"durable {order.verb} takes ids or filters, not both")
    if not run_ids and not flags.is_given:
        raise ConfigurationError(
            f"durable {order.verb} needs to know which runs: give ids, or filters such as --workflow and --status"
        )
    if not run_ids:
        run_ids = _select(order, flags, session, yes=yes, dry_run=dry_run)
    elif len(run_ids) == 1:
        _do_one(order, session, run_ids[0], reason)
        return ExitCode.OK
    if not run_ids:
        return ExitCode.OK
    outcome = session.run(lambda client: _act(order, client, run_ids, reason))
    done, refused = outcome if outcome is not None else ([], dict.fromkeys(run_ids, "there is no store"))
    _tell(order, session, done, refused)
    return ExitCode.REFUSED if refused else ExitCode.OK


def _do_one(order: Order, session: Session, run_id: str, reason: str) -> None:
    async def work(client: Client, run: RunHandle[Any]) -> None:
        await order.act(run, reason)
        _tell(order, session, [run_id], {})
        await session.note_if_unserved(client, client.get(run.workflow_id))

    session.with_run(run_id, work)


def _select(order: Order, flags: Flags, session: Session, *, yes: bool, dry_run: bool) -> list[str]:
    """The run ids that the filters select, after the count was told and confirmed; empty if there is nothing to do."""
    from durable.errors import ConfigurationError
    from runtime.cli.output import count
    from runtime.cli.selection import select_runs

    conditions = flags.conditions(order.statuses)
    run_ids = session.run(lambda client: select_runs(client, conditions, retries=order.verb == "retry")) or []
    url, counted = session.open_store().url, count(len(run_ids), "run")
    (session.output.line if dry_run and not session.as_json else session.output.note)(f"{counted} selected in {url}")
    if dry_run or not run_ids:
        if session.as_json:
            session.output.data({"store": url, "matched": len(run_ids), "done": [], "refused": {}})
        return []
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"{order.verb} {counted}?", err=True)):
        raise ConfigurationError(f"nothing was done; to {order.verb} {counted} without being asked, add --yes")
    return run_ids


async def _act(order: Order, client: Client, run_ids: list[str], reason: str) -> tuple[list[str], dict[str, str]]:
    from durable.errors import CallerError
    from runtime.cli.session import find_run

    done: list[str] = []
    refused: dict[str, str] = {}
    for run_id in run_ids:
        try:
            run = await find_run(client, run_id)
            await order.act(run, reason)
        except CallerError as error:
            refused[run_id] = error.message
        else:
            done.append(run.workflow_id)
    return done, refused


def _tell(order: Order, session: Session, done: list[str], refused: dict[str, str]) -> None:
    output = session.output
    if output.as_json:
        output.data(
            {"store": session.open_store().url, "matched": len(done) + len(refused), "done": done, "refused": refused}
        )
        return
    for run_id in done:
        output.line(f"{order.done}: {run_id}")
    for run_id, why in refused.items():
        output.note(f"refused: {run_id}: {why}")
