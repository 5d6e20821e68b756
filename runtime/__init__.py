"""Everything with effects: stores, workers, clients, the ``durable`` command. Built on ``durable``, which never imports it."""

from runtime.client.client import Client, StepHandle
from runtime.client.description import Question, RunDescription, RunSummary
from runtime.client.handle import RunHandle
from runtime.clock import Clock, SystemClock
from runtime.runtime import Runtime
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
]
