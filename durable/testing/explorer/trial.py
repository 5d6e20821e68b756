"""One run under one schedule, from its start to its end, and what is kept of it."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from durable.errors import DurableError, RunStuckError
from durable.handle import RollbackStatus
from durable.history import TERMINAL, EventKind
from durable.kernel.people import APPROVAL
from durable.testing.environment import WorkflowEnvironment, observers
from durable.testing.explorer.coverage import Coverage, Place
from durable.testing.explorer.example import example_value
from durable.testing.explorer.interference import EndlessError, Interference
from durable.testing.explorer.schedule import Schedule
from durable.testing.failure import IdleError, UnstubbedStepError
from durable.testing.golden import plain_history
from durable.testing.handle import SimulatedHandle
from durable.testing.simulated import SimulatedRun
from durable.workflow import WorkflowCall

Invariant = Callable[[SimulatedHandle[Any]], str | Awaitable[str | None] | None]
Drive = Callable[[SimulatedHandle[Any]], Awaitable[object]]
MakeEnvironment = Callable[[], WorkflowEnvironment | Awaitable[WorkflowEnvironment]]


@dataclass(slots=True)
class Trial:
    """What became of a run under a schedule.

    Attributes:
        schedule: what was disturbed.
        problem: (kind, words) of what kept it from its end.
        complaints: of the invariants.
        outcome: how it ended, without times and ids.
        history: what all runs did, without times, ids and attempts.
        is_cancelled: it was asked to cancel.
        in_doubt: names of steps that failed with ``StepInDoubtError``.
        rollback: where its rollback stands.
        interference: what disturbed it, and what that has seen.
        run: as an invariant gets it.
    """

    schedule: Schedule
    interference: Interference
    run: SimulatedHandle[Any]
    problem: tuple[str, str] | None = None
    complaints: list[str] = field(default_factory=list)
    outcome: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    rollback: RollbackStatus = RollbackStatus.NONE

    @property
    def has_ended(self) -> bool:
        """It came to its end."""
        return self.problem is None

    @property
    def place(self) -> Place | None:
        """Where the code waited when it was disturbed."""
        return self.interference.place


class Stage:
    """Everything that all trials share.

    Args:
        call: the workflow with its arguments.
        make_env: makes a fresh environment.
        drive: plays the people and the senders of messages.
        invariants: asked at the end.
    """

    def __init__(
        self,
        call: WorkflowCall[Any],
        make_env: MakeEnvironment,
        drive: Drive | None,
        invariants: Sequence[Invariant],
    ) -> None:
        self._call = call
        self._make_env = make_env
        self._drive = drive
        self._invariants = invariants
        self.coverage = Coverage()
        self.turn_limit = 10_000
        self.count = 0

    async def perform(self, schedule: Schedule, chance: random.Random | None = None) -> Trial:
        """Run the workflow under a schedule.

        Args:
            schedule: what is disturbed.
            chance: makes the choices beyond the end of the schedule's order.

        Raises:
            UnstubbedStepError: it calls a step that is neither stubbed nor allowed.
        """
        self.count += 1
        env = await self._fresh()
        interference = Interference(env, schedule, self.coverage, self.turn_limit, chance)
        run = await env.start(self._call)
        trial = Trial(schedule, interference, run)
        try:
            await self._play(env, trial)
            if schedule == Schedule():
                env.verify()
        except IdleError as error:
            trial.problem = ("hang", str(error) + self._how_to_drive())
        except EndlessError as error:
            trial.problem = ("hang", str(error))
        except RunStuckError as error:
            is_endless = isinstance(error.__cause__, EndlessError)
            trial.problem = ("hang", str(error.__cause__)) if is_endless else ("stuck", str(error))
        finally:
            self._describe(env, trial)
            env._cancel_steps()
            env._host.probe = env._host.may_crash = None
        if trial.has_ended:
            for invariant in self._invariants:
                answer = invariant(run)
                text = await answer if inspect.isawaitable(answer) else answer
                if text is not None:
                    trial.complaints.append(str(text))
        return trial

    async def _fresh(self) -> WorkflowEnvironment:
        """A new environment; nobody is told of it: its runs may well fail, and are judged here."""
        told, observers[:] = observers[:], []
        try:
            made = self._make_env()
            return await made if inspect.isawaitable(made) else made
        finally:
            observers[:] = told

    async def _play(self, env: WorkflowEnvironment, trial: Trial) -> None:
        run = trial.run
        if self._drive is None:
            await self._answer(env, run._run)
        else:
            try:
                await self._drive(run)
            except (DurableError, IdleError) as error:
                is_open = not run._run.newest.status.is_closed
                if isinstance(error, RunStuckError) or (is_open and isinstance(error, IdleError)):
                    raise
                if trial.schedule == Schedule():
                    raise  # of the run as it is meant: the test is wrong
            except UnstubbedStepError:
                raise
            except AssertionError as error:
                if trial.schedule == Schedule():
                    raise
                trial.complaints.append(f"an assertion of drive failed: {error}")
        await run._until(lambda: True if _is_over(run._run) else None, None, "its end")
        stuck = next((each for each in env._host.runs.values() if each.stuck is not None), None)
        if stuck is not None:
            raise RunStuckError(f"{stuck.workflow_id!r} is stuck: {stuck.stuck}") from stuck.stuck

    async def _answer(self, env: WorkflowEnvironment, root: SimulatedRun) -> None:
        """Answer whatever people are asked, until the run is over."""
        host = env._host

        def asked() -> SimulatedRun | None:
            if _is_over(root) or root.newest.stuck is not None:
                return root
            return next((run for run in host.runs.values() if run.questions and host.is_settled), None)

        while not _is_over(root) and root.newest.stuck is None:
            run = await env._waiting.until(asked, SimulatedHandle(host, env._waiting, root)._instead("the end"))
            handle = SimulatedHandle[Any](host, env._waiting, run)
            for question in list(run.questions.values()):
                if question.question == APPROVAL:
                    await handle.approve(by="explorer", key=question.name)
                else:
                    value = example_value(from_json(question.schema))
                    await handle.answer(value, by="explorer", key=question.name)

    def _how_to_drive(self) -> str:
        if self._drive is not None:
            return ""
        return (
            "\nsignals and other messages cannot be made up; if it waits for one, send it from explore(..., drive=drive):\n"
            "    async def drive(run):\n"
            "        await run.until_waiting()\n"
            "        await run.signal(name, value)"
        )

    def _describe(self, env: WorkflowEnvironment, trial: Trial) -> None:
        newest = trial.run._run.newest
        trial.rollback = newest.rollback
        trial.history = [
            _without_attempts(event)
            for run in env._host.runs.values()
            for event in plain_history(run.history, env._host.envelope)
        ]
        failed = (event for event in trial.history if event["kind"] == EventKind.STEP_FAILED)
        trial.in_doubt = [
            event["name"]
            for event in failed
            if isinstance(event["value"], dict) and event["value"]["type"] == "StepInDoubtError"
        ]
        ends = [event for event in plain_history(newest.history, env._host.envelope) if event["kind"] in TERMINAL]
        if ends:
            value = to_json(ends[-1].get("value", ends[-1].get("detail"))).decode()
            undone = "" if newest.rollback is RollbackStatus.NONE else f", rollback {newest.rollback}"
            trial.outcome = f"{ends[-1]['kind']} {value}{undone}"


def _is_over(root: SimulatedRun) -> bool:
    run = root.newest
    return run.status.is_closed and run.rollback is not RollbackStatus.RUNNING


def _without_attempts(event: dict[str, Any]) -> dict[str, Any]:
    detail = {key: value for key, value in event.get("detail", {}).items() if key != "attempts"}
    rest = {key: value for key, value in event.items() if key != "detail"}
    return rest | {"detail": detail} if detail else rest
