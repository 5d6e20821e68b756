"""Name to definition: what a worker or a replayer can run."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from durable.errors import DefinitionError, MissingCodeError
from durable.step import StepDefinition, as_step
from durable.workflow import WorkflowDefinition


class Registry:
    """Workflows and steps by name. Names are unique; the same definition may be added again.

    Attributes:
        workflows: definitions by name.
        steps: definitions by name.
    """

    def __init__(
        self,
        workflows: Iterable[WorkflowDefinition[..., Any]] = (),
        steps: Iterable[Callable[..., Any]] = (),
    ) -> None:
        self.workflows: dict[str, WorkflowDefinition[..., Any]] = {}
        self.steps: dict[str, StepDefinition[..., Any]] = {}
        for definition in workflows:
            self.add_workflow(definition)
        for fn in steps:
            self.add_step(fn)

    def add_workflow(self, definition: WorkflowDefinition[..., Any]) -> None:
        """Make a workflow known, and with it the steps that its module declares.

        Raises:
            DefinitionError: if it is no workflow, or another one has the name.
        """
        if not isinstance(definition, WorkflowDefinition):
            raise DefinitionError(f"expected a workflow, got {definition!r}; decorate the function with @workflow")
        known = self.workflows.setdefault(definition.name, definition)
        if known.fn is not definition.fn:
            raise DefinitionError(
                f"two workflows are called {definition.name!r}: {_place(known.fn)} and {_place(definition.fn)}; "
                "give one of them a name="
            )
        definition.arguments.prepare()
        definition.result.prepare()
        module = sys.modules.get(definition.fn.__module__)
        for value in list(vars(module).values()) if module else ():
            if isinstance(value, StepDefinition) and value.name not in self.steps:
                self.add_step(value)

    def add_step(self, fn: Callable[..., Any]) -> None:
        """Make a step known by name, so that it can be run for other workers and undone after continue-as-new.

        Raises:
            DefinitionError: if another step has the name.
        """
        definition = as_step(fn)
        definition.arguments.prepare()
        definition.result.prepare()
        known = self.steps.setdefault(definition.name, definition)
        if known.fn is not definition.fn:
            raise DefinitionError(
                f"two steps are called {definition.name!r}: {_place(known.fn)} and {_place(definition.fn)}; "
                "give one of them a name="
            )

    def workflow(self, name: str) -> WorkflowDefinition[..., Any]:
        """The workflow of this name.

        Raises:
            MissingCodeError: naming those that are known.
        """
        if name in self.workflows:
            return self.workflows[name]
        raise MissingCodeError(_unknown("workflow", name, self.workflows), name=name, known=sorted(self.workflows))

    def step(self, name: str) -> StepDefinition[..., Any]:
        """The step of this name.

        Raises:
            MissingCodeError: naming those that are known.
        """
        if name in self.steps:
            return self.steps[name]
        plain = self._plain_function(name)
        if plain is not None:
            return as_step(plain)
        raise MissingCodeError(_unknown("step", name, self.steps), name=name, known=sorted(self.steps))

    def _plain_function(self, name: str) -> Callable[..., Any] | None:
        """A function of a known module by its qualified name: a compensation need not be declared as a step."""
        for module in self.modules():
            target: Any = module
            for part in name.split("."):
                target = getattr(target, part, None)
            if inspect.isfunction(target) and target.__qualname__ == name:
                return target
        return None

    def modules(self) -> list[ModuleType]:
        """The modules of the definitions, in order of registration: where recorded classes are looked for first."""
        functions: list[Any] = [d.fn for d in self.workflows.values()]
        functions += [d.fn for d in self.steps.values()]
        names = dict.fromkeys(fn.__module__ for fn in functions if hasattr(fn, "__module__"))
        return [sys.modules[name] for name in names if name in sys.modules]


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no {kind} is called {name!r}{hint} (known: {', '.join(names) or 'none'})"


def _place(fn: Any) -> str:
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(fn)
