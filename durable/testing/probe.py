"""Where an explorer puts its hand into the harness: facts on their way to runs, attempts of steps, and what steps read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from durable.attempt import StepInfo
from durable.history import Fact

if TYPE_CHECKING:
    from durable.testing.execution import Execution
    from durable.testing.simulated import SimulatedRun

SILENCE: Final = object()
"""The fault of an attempt that never answers: its limits end it."""


class Probe(Protocol):
    """Asked by the fulfiller wherever something could happen otherwise."""

    @property
    def is_holding(self) -> bool:
        """Whether there are facts that it still has to deliver."""
        ...

    def takes(self, run: SimulatedRun, fact: Fact) -> bool:
        """Whether it takes a fact, to deliver it later or never."""
        ...

    def notice(self) -> None:
        """Something may have changed."""
        ...

    def fault(self, execution: Execution) -> Exception | object | None:
        """What an attempt that begins meets instead of its step: an error, ``SILENCE``, or None for the step itself."""
        ...

    def watched(self, info: StepInfo) -> StepInfo:
        """What a step is shown of itself."""
        ...
