"""Steps in processes of their own, for CPU-bound functions and for code that may take its process down.

anyio keeps the pool: one process per call at a time, so that a crash fails one attempt and nothing else. Only texts cross
the border: where the function is, and its arguments and result as JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

import anyio.to_process

from durable.attempt import StepInfo, current_step
from durable.codec import rebuild_exception, record_exception
from durable.errors import StepError
from durable.step import StepDefinition, as_step


class _Remote:
    """``step_info()`` inside the process; heartbeats stay there."""

    def __init__(self, info: StepInfo) -> None:
        self._info = info

    def info(self) -> StepInfo:
        return self._info

    def beat(self, _details: Any) -> None:
        return None


async def run_in_process(definition: StepDefinition[..., Any], arguments: str, info: StepInfo) -> str:
    """The result's JSON text of a step that ran in another process; cancelling ends the process.

    Raises:
        StepError: the process died.
        Exception: what the step raised.
    """
    module = sys.modules[definition.fn.__module__]
    path = getattr(module, "__file__", None) if module.__name__ == "__main__" or "." not in module.__name__ else None
    about = (
        info.workflow_id,
        info.run_id,
        info.workflow,
        info.step,
        info.command,
        info.attempt,
        info.idempotency_key,
        info.token,
    )
    try:
        outcome, text = await anyio.to_process.run_sync(
            _run, module.__name__, path, definition.fn.__qualname__, arguments, about, cancellable=True
        )
    except anyio.BrokenWorkerProcess as error:
        raise StepError(f"the process of step {definition.name!r} died: {error}", step=definition.name) from error
    if outcome == "failed":
        raise rebuild_exception(text)
    return str(text)


def _run(module: str, path: str | None, qualname: str, arguments: str, about: tuple[Any, ...]) -> tuple[str, str]:
    """The other side."""
    try:
        target: Any = _import(module, path)
        for part in qualname.split("."):
            target = getattr(target, part)
        definition = as_step(target)
        args, kwargs = definition.arguments.decode(arguments)
        current_step.set(_Remote(StepInfo(*about)))
        result = definition.fn(*args, **kwargs)
        if definition.is_async:
            result = asyncio.run(result)
        return "completed", definition.result.encode(result)
    except Exception as error:  # noqa: BLE001 - it is raised again on the other side
        return "failed", record_exception(error)


def _import(module: str, path: str | None) -> Any:
    if module in sys.modules and module != "__main__":
        return sys.modules[module]
    if path is None:
        return importlib.import_module(module)
    from runtime.target import load_file

    return load_file(path)
