"""What is not wrong in the schedules that were tried, and worth a look: effects that repeat, effects that stay."""

from __future__ import annotations

from collections import Counter
from types import CodeType
from typing import Any

from durable.history import EventKind
from durable.kernel.line import definition_line
from durable.step import StepDefinition
from durable.testing.explorer.trial import Trial


class Adviser:
    """Watches trials."""

    def __init__(self) -> None:
        self._definitions: dict[str, StepDefinition[..., Any]] = {}
        self._repeated: set[str] = set()
        self._keyed: set[str] = set()
        self._undone: set[str] = set()
        self._left: set[str] = set()

    def watch(self, trial: Trial) -> None:
        """Take in one trial."""
        seen = trial.interference
        self._keyed |= seen.keyed
        for execution in seen.executions.values():
            self._definitions[execution.name] = execution.command.definition
            if execution.command.compensates is not None:
                self._undone.add(execution.name)
        if trial.schedule.crash is not None:
            calls = Counter((call.idempotency_key, call.name, call.attempt) for call in trial.run.calls())
            self._repeated |= {name for (key, name, _), count in calls.items() if key and count > 1}
        self._left |= _uncompensated(trial)

    def advice(self) -> list[str]:
        """What there is to say, a line each."""
        return [*self._repeats(), *self._remains()]

    def _repeats(self) -> list[str]:
        return [
            f"a crash repeats step {name!r}, whose code does not use step_info().idempotency_key{definition_line(definition.fn)}"
            for name, definition in self._definitions.items()
            if name in self._repeated - self._keyed and not _mentions_key(getattr(definition.fn, "__code__", None))
        ]

    def _remains(self) -> list[str]:
        if not self._undone:
            return []
        return [
            f"step {name!r} has no compensation, and the workflow rolls back{definition_line(definition.fn)}"
            for name, definition in self._definitions.items()
            if name in self._left - self._undone
        ]


def _uncompensated(trial: Trial) -> set[str]:
    """Names of steps without a compensation, neither their own nor one that was registered just before."""
    found, registered = set(), False
    options = {
        execution.number: execution.command.definition.options_ for execution in trial.interference.executions.values()
    }
    for event in trial.run.events:
        if event.kind == EventKind.STEP_SCHEDULED:
            own = options.get(event.command or 0)
            if not registered and own is not None and own.compensate is None:
                found.add(event.name or "")
            registered = False
        elif event.kind == EventKind.COMPENSATION_REGISTERED:
            registered = True
    return found


def _mentions_key(code: CodeType | None) -> bool:
    if code is None:
        return False
    if "idempotency_key" in code.co_names:
        return True
    return any(_mentions_key(inner) for inner in code.co_consts if isinstance(inner, CodeType))
