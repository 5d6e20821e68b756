"""``explore``: the same workflow under every schedule that matters, and what went wrong.

The run that nobody disturbs comes first: it says where the crash points, the steps, the questions and the turns are. Then come
crashes, faults, cancellations, crashes within a rollback, and orders, each in an environment of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from durable.errors import DefinitionError
from durable.testing.environment import WorkflowEnvironment
from durable.testing.explorer import plan
from durable.testing.explorer.advice import Adviser
from durable.testing.explorer.judgement import judge, words
from durable.testing.explorer.report import Finding, Report
from durable.testing.explorer.schedule import Schedule
from durable.testing.explorer.shrinking import shrink
from durable.testing.explorer.trial import Drive, Invariant, MakeEnvironment, Stage, Trial
from durable.workflow import WorkflowCall

MAX_SCHEDULES: Final = 500
"""How many schedules are tried where nobody says how many."""

_RANDOM_ORDERS: Final = 0.25
"""Share of the orders that are random, where not all can be tried."""


async def explore(
    call: WorkflowCall[Any],
    *,
    env: WorkflowEnvironment | MakeEnvironment,
    invariants: Sequence[Invariant] = (),
    drive: Drive | None = None,
    order_matters: bool = False,
    max_schedules: int = MAX_SCHEDULES,
    seed: int | str = 0,
) -> Report:
    """Run a workflow with every crash, fault, cancellation and order that matters, and say what goes wrong.

    Args:
        call: the workflow with its arguments: ``workflow.bind(...)``.
        env: an environment with stubs and allowed steps; every schedule gets a copy. Or a function that makes one, async or not:
            the place to reset what steps that run for real have left.
        invariants: each gets the finished run and returns None, or what is wrong; async or not.
        drive: plays the people and the senders of messages: ``async def drive(run)``. Without one, approvals are given and
            questions are answered with an example of their schema.
        order_matters: the outcome may depend on the order in which things happen, and a run may complete although it was cancelled.
        max_schedules: how many are tried; those beyond are left out at random, and the report says how many.
        seed: of the random choices; or the seed that a finding has printed, to run only that schedule.

    Raises:
        UnstubbedStepError: it calls a step that is neither stubbed nor allowed, maybe only when something fails.
        DefinitionError: an argument is none.
    """
    if not isinstance(call, WorkflowCall):
        raise DefinitionError(
            f"expected a bound call to explore, got {call!r}; write: explore(workflow.bind(...), env=env)"
        )
    make_env = env.copy if isinstance(env, WorkflowEnvironment) else env
    stage = Stage(call, make_env, drive, invariants)
    exploration = _Exploration(stage, call.definition.name, order_matters=order_matters)
    began = time.perf_counter()
    if isinstance(seed, str):
        await exploration.repeat(Schedule.parse(seed))
    else:
        await exploration.run(max_schedules, random.Random(seed))  # noqa: S311 - reproducible on purpose
    report = exploration.report
    report.seconds = time.perf_counter() - began
    return report


class _Exploration:
    """One call of ``explore``."""

    def __init__(self, stage: Stage, workflow: str, *, order_matters: bool) -> None:
        self._stage = stage
        self._order_matters = order_matters
        self._adviser = Adviser()
        self.report = Report(workflow, stage.coverage)

    async def repeat(self, schedule: Schedule) -> None:
        """Try one schedule only."""
        reference = await self._begin()
        if reference is None or schedule == Schedule():
            return
        if schedule.crash is not None and (schedule.fault or schedule.cancellation) is not None:
            reference = await self._stage.perform(replace(schedule, crash=None))
        await self._try("repeated", schedule, reference)

    async def run(self, budget: int, chance: random.Random) -> None:
        """Try all that matter, as far as the budget goes."""
        reference = await self._begin()
        if reference is not None:
            disturbed: list[Trial] = []
            for kind, schedules in (
                ("crashes", plan.crashes(reference)),
                ("faults", list(plan.faults(reference))),
                ("cancellations", plan.cancellations(reference)),
            ):
                tried = await self._try_all(kind, schedules, reference, budget, chance)
                disturbed += tried if kind != "crashes" else []
            undone = max(disturbed, key=lambda trial: len(plan.crashes_in_rollback(trial)), default=reference)
            if undone.has_ended:
                await self._try_all("crashes in a rollback", plan.crashes_in_rollback(undone), undone, budget, chance)
            await self._try_orders(reference, budget - self.report.tried.total(), chance)
        self.report.advice = self._adviser.advice()

    async def _begin(self) -> Trial | None:
        """The run that nobody disturbs; None if it goes wrong by itself."""
        reference = await self._stage.perform(Schedule())
        self._note("undisturbed", reference, reference)
        if not reference.has_ended:
            return None
        self._stage.turn_limit = 200 + 20 * len(reference.interference.points)
        return reference

    async def _try_all(
        self, kind: str, schedules: Sequence[Schedule], reference: Trial, budget: int, chance: random.Random
    ) -> list[Trial]:
        chosen = plan.sample(schedules, budget - self.report.tried.total(), chance)
        if len(chosen) < len(schedules):
            self.report.left_out[kind] += len(schedules) - len(chosen)
        return [await self._try(kind, schedule, reference) for schedule in chosen]

    async def _try(self, kind: str, schedule: Schedule, reference: Trial) -> Trial:
        trial = await self._stage.perform(schedule)
        self._note(kind, trial, reference)
        return trial

    def _note(self, kind: str, trial: Trial, reference: Trial) -> list[Finding]:
        self.report.tried[kind] += 1
        self._adviser.watch(trial)
        findings = self._judge(trial, reference)
        for finding in findings:
            self.report.add(finding)
        if len(trial.in_doubt) > len(reference.in_doubt) and not findings:
            self.report.in_doubt.append(f"step {trial.in_doubt[-1]!r}, {words(trial)} (seed {str(trial.schedule)!r})")
        return findings

    def _judge(self, trial: Trial, reference: Trial) -> list[Finding]:
        return judge(trial, reference, order_matters=self._order_matters)

    # -- orders -------------------------------------------------------------------------------------------

    async def _try_orders(self, reference: Trial, budget: int, chance: random.Random) -> None:
        orders = plan.Orders()
        random_ones = int(budget * _RANDOM_ORDERS)
        for _ in range(budget - random_ones):
            schedule = orders.next()
            if schedule is None:
                return
            trial = await self._stage.perform(schedule)
            orders.learn(trial)
            await self._note_order("orders", trial, reference)
        if not orders.waiting:
            return
        for _ in range(random_ones):
            source = random.Random(chance.random())  # noqa: S311 - reproducible on purpose
            trial = await self._stage.perform(Schedule(order=()), source)
            taken = tuple(chosen for chosen, _ in trial.interference.choices)
            trial.schedule = Schedule(order=taken)
            if orders.learn(trial):
                await self._note_order("random orders", trial, reference)
        self.report.left_out["orders"] += orders.waiting

    async def _note_order(self, kind: str, trial: Trial, reference: Trial) -> None:
        self.report.tried[kind] += 1
        self._adviser.watch(trial)
        for finding in self._judge(trial, reference):
            known = len(self.report.findings)
            self.report.add(finding)
            if len(self.report.findings) > known:
                self.report.findings[-1] = await self._shrunk(trial, finding, reference)

    async def _shrunk(self, trial: Trial, finding: Finding, reference: Trial) -> Finding:
        async def attempt(schedule: Schedule) -> Finding | None:
            again = self._judge(await self._stage.perform(schedule), reference)
            same = (finding.kind, finding.difference)
            return next((each for each in again if (each.kind, each.difference) == same), None)

        _, smallest = await shrink(trial.schedule, finding, attempt)
        return smallest
