"""Testing workflows: virtual time, stubs, crashes, and strict replay of every run.

env = WorkflowEnvironment()
env.stub(create_database, returns=Database(id="db-1"))
run = await env.start(deploy, "v1")
await run.until_waiting("approval")
await run.approve(by="alice")
assert await run.result() == "https://..."
"""

from durable.testing.clock import VirtualClock
from durable.testing.environment import WorkflowEnvironment
from durable.testing.explorer import ExplorationError, Finding, FindingKind, Report, explore
from durable.testing.failure import IdleError, UnstubbedStepError
from durable.testing.golden import assert_history, plain_history
from durable.testing.handle import SimulatedHandle
from durable.testing.stub import StepCall, Stub

__all__ = [
    "ExplorationError",
    "Finding",
    "FindingKind",
    "IdleError",
    "Report",
    "SimulatedHandle",
    "StepCall",
    "Stub",
    "UnstubbedStepError",
    "VirtualClock",
    "WorkflowEnvironment",
    "assert_history",
    "explore",
    "plain_history",
]
