"""How an engine works: what it takes, how much at once, what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from durable.interceptor import Interceptor
from durable.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class StepLimits:
    """How many steps run at once.

    Attributes:
        concurrent: attempts at once in this worker.
        threads: of them in threads.
    """

    concurrent: int = 1000
    threads: int = 64


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine works.

    Attributes:
        queues: which runs and steps it takes.
        cache_size: replayers kept for parked runs; 0 evicts every run after every turn.
        max_runs: runs held at once.
        steps: limits of the steps at once.
        default_retry: policy of steps whose step and workflow have none.
        recover: claim any run; False: only those that were adopted, and what they start, and never give one back.
        interceptors: around workflows and steps, and told of failures.
        retry_delay_us: pause before something is tried again that the store could not do.
    """

    queues: Sequence[str] = ("default",)
    cache_size: int = 1000
    max_runs: int = 2000
    steps: StepLimits = field(default_factory=StepLimits)
    default_retry: RetryPolicy | None = None
    recover: bool = True
    interceptors: Sequence[Interceptor] = ()
    retry_delay_us: int = 250_000
