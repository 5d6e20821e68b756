"""Which steps may run for real in a test, and the lines to write for one that may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.step import StepDefinition
from durable.testing.failure import UnstubbedStepError

if TYPE_CHECKING:
    from durable.testing.execution import Execution


def check_allowed(execution: Execution, is_allowed: bool) -> None:
    """Whether a step that is not stubbed may run.

    Raises:
        UnstubbedStepError: it may not.
    """
    definition = execution.command.definition
    if definition.options_.transactional:
        raise UnstubbedStepError(
            f"step {definition.name!r} is transactional and needs a database, which a simulated run has not; write one of\n"
            f"    env.stub({definition.name}, returns={_result_of(definition)})\n"
            f"    or test it with a real worker: the fixture durable_runtime"
        )
    if not is_allowed:
        raise UnstubbedStepError(
            f"step {definition.name!r} of {execution.run.workflow_id!r} is neither stubbed nor allowed to run; write one of\n"
            f"    env.stub({definition.name}, returns={_result_of(definition)})\n"
            f"    env.allow({definition.name})  # it runs for real"
        )


def _result_of(definition: StepDefinition[..., Any]) -> str:
    """A value of the step's declared result, as an author would begin to write it."""
    annotation = getattr(definition.fn, "__annotations__", {}).get("return", ...)
    if annotation is None or annotation == "None":
        return "None"
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "...")
    return {"str": '""', "int": "0", "float": "0.0", "bool": "True", "list": "[]", "dict": "{}"}.get(
        name, f"{name}(...)" if name.isidentifier() else "..."
    )
