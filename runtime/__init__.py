"""Everything with effects: stores, workers, clients, the ``durable`` command.

It is built on ``durable``, which never imports it. The names below are imported when they are first used, so that
``durable --help`` need not load the engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.client.client import Client, StepHandle
    from runtime.client.description import Question, RunDescription, RunSummary
    from runtime.client.handle import RunHandle
    from runtime.clock import Clock, SystemClock
    from runtime.runtime import Runtime
    from runtime.worker.interpreter import tune_interpreter
    from runtime.worker.worker import Worker

__all__ = [
    "Client",
    "Clock",
    "Question",
    "RunDescription",
    "RunHandle",
    "RunSummary",
    "Runtime",
    "StepHandle",
    "SystemClock",
    "Worker",
    "tune_interpreter",
]

_HOMES = {
    "Client": "runtime.client.client",
    "Clock": "runtime.clock",
    "Question": "runtime.client.description",
    "RunDescription": "runtime.client.description",
    "RunHandle": "runtime.client.handle",
    "RunSummary": "runtime.client.description",
    "Runtime": "runtime.runtime",
    "StepHandle": "runtime.client.client",
    "SystemClock": "runtime.clock",
    "Worker": "runtime.worker.worker",
    "tune_interpreter": "runtime.worker.interpreter",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
