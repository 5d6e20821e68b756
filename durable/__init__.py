"""Durable execution: workflows are ordinary async functions that survive crashes, restarts and weeks of waiting.

Where things are:
    workflow, step    what you declare: ``@workflow``, ``@step``, their options, ``RetryPolicy``
    context           ``ctx``: everything a workflow can do
    messages          ``Signal``, ``Query``, ``Update``
    errors            every exception, as a tree by who must act
    codec             values to JSON and back; compression, encryption, ``Secret``
    history, commands what is recorded, what is asked for
    kernel            the deterministic machine: history in, commands out
    lint              finds nondeterminism in the source of workflows
    runtime           (the other package) stores, workers, clients, the ``durable`` command
"""

from durable.attempt import CompleteLater, RetryAfter, StepInfo, heartbeat, step_info
from durable.codec import PayloadCodec, Secret
from durable.context import Context, ContinueAsNew
from durable.errors import (
    ApprovalRejectedError,
    ChildCancelledError,
    ChildError,
    ChildFailedError,
    DefinitionError,
    DeterminismError,
    DurableError,
    QuestionTimeoutError,
    RunCancelledError,
    RunFailedError,
    SignalTimeoutError,
    StepError,
    StepInDoubtError,
    StepLostError,
    StepTimeoutError,
)
from durable.kernel.people import Decision
from durable.messages import Query, Signal, Update
from durable.retry import RetryPolicy
from durable.step import step
from durable.workflow import workflow

__version__ = "0.1.0"

__all__ = [
    "ApprovalRejectedError",
    "ChildCancelledError",
    "ChildError",
    "ChildFailedError",
    "CompleteLater",
    "Context",
    "ContinueAsNew",
    "Decision",
    "DefinitionError",
    "DeterminismError",
    "DurableError",
    "PayloadCodec",
    "Query",
    "QuestionTimeoutError",
    "RetryAfter",
    "RetryPolicy",
    "RunCancelledError",
    "RunFailedError",
    "Secret",
    "Signal",
    "SignalTimeoutError",
    "StepError",
    "StepInDoubtError",
    "StepInfo",
    "StepLostError",
    "StepTimeoutError",
    "Update",
    "heartbeat",
    "step",
    "step_info",
    "workflow",
]
