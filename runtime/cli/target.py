"""Targets of commands: loading code, saying clearly what is wrong with it, choosing the workflow that is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

from durable.codec import record_exception
from durable.errors import ConfigurationError, DurableError
from durable.registry import Registry
from durable.step import StepDefinition
from durable.timeline.fault import read_fault
from durable.workflow import WorkflowDefinition
from runtime.target import load_target

D = TypeVar("D", WorkflowDefinition[..., Any], StepDefinition[..., Any])


@dataclass(slots=True)
class Code:
    """What targets hold."""

    modules: list[ModuleType] = field(default_factory=list)
    workflows: list[WorkflowDefinition[..., Any]] = field(default_factory=list)
    steps: list[StepDefinition[..., Any]] = field(default_factory=list)


def load(target: str) -> tuple[ModuleType, WorkflowDefinition[..., Any] | None]:
    """As ``load_target``; what the code raises while it is imported is told with the user's line first.

    Raises:
        ConfigurationError: it cannot be loaded.
    """
    try:
        return load_target(target)
    except DurableError:
        raise
    except SyntaxError as error:
        message = f"{target} cannot be loaded: {error.msg} at {error.filename}:{error.lineno}"
        raise ConfigurationError(message) from error
    except SystemExit as error:
        raise ConfigurationError(
            f"{target} ends the program while it is imported; put that below: if __name__ == '__main__'"
        ) from error
    except Exception as error:
        fault = read_fault(record_exception(error))
        where = f" at {fault.where}" if fault.where else ""
        raise ConfigurationError(f"{target} cannot be loaded: {fault}{where}") from error


def definitions(module: ModuleType, kind: type[D]) -> list[D]:
    """The workflows or steps among a module's names, each function once; two of one name are both there."""
    found = {id(value.fn): value for value in reversed(list(vars(module).values())) if isinstance(value, kind)}
    return list(reversed(found.values()))


def load_all(targets: list[str]) -> Code:
    """Everything that a worker serves.

    Raises:
        ConfigurationError: a target cannot be loaded, or holds neither workflow nor step.
    """
    code = Code()
    for target in targets:
        module, chosen = load(target)
        found = [chosen] if chosen is not None else definitions(module, WorkflowDefinition)
        steps = definitions(module, StepDefinition)
        if not found and not steps:
            raise ConfigurationError(
                f"{target} has neither workflows nor steps; decorate functions with @workflow or @step"
            )
        code.modules.append(module)
        code.workflows.extend(found)
        code.steps.extend(steps)
    return code


def load_one(
    target: str, recorded: Callable[[], str | None] = lambda: None
) -> tuple[Code, WorkflowDefinition[..., Any]]:
    """A target's code, and the workflow to run: the one that is named, or the only one.

    Args:
        target: as for ``load``.
        recorded: asked if there are several: the name of the workflow of the run that is to go on, if there is one.

    Raises:
        ConfigurationError: there is none, or there are several; the message lists them.
        DefinitionError: two have one name.
    """
    module, chosen = load(target)
    known = definitions(module, WorkflowDefinition)
    code = Code([module], known, definitions(module, StepDefinition))
    if chosen is not None:
        return code, chosen
    own = [one for one in known if one.fn.__module__ == module.__name__] or known
    if len(own) == 1:
        return code, own[0]
    if not own:
        raise ConfigurationError(f"{target} has no workflow; decorate an async function with @workflow")
    Registry(known)  # of two with one name neither can be run, whichever is named
    name = recorded()
    for one in known:
        if one.name == name:
            return code, one
    names = ", ".join(f"{target}:{one.fn.__name__}" for one in own)
    raise ConfigurationError(f"{target} has several workflows; name one: {names}")


def load_attribute(reference: str, what: str) -> Any:
    """The object that ``module:name`` or ``file.py:name`` names.

    Raises:
        ConfigurationError: there is none.
    """
    location, colon, name = reference.partition(":")
    if not colon or not name:
        raise ConfigurationError(f"expected {what} to be MODULE:NAME, got {reference!r}")
    module, _ = load(location)
    if not hasattr(module, name):
        raise ConfigurationError(f"{location} has no {name!r}")
    return getattr(module, name)
