"""One way in which a run can go: what is disturbed, and how that is written down as a seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from durable.errors import DefinitionError


class FaultKind(StrEnum):
    """What happens to a step or a question."""

    FAILS_ONCE = "fails-once"
    FAILS = "fails"
    TIMES_OUT = "times-out"
    IN_DOUBT = "in-doubt"
    REJECTED = "rejected"
    UNANSWERED = "unanswered"


FAULT_WORDS = {
    FaultKind.FAILS_ONCE: "step {} fails once",
    FaultKind.FAILS: "step {} fails for ever",
    FaultKind.TIMES_OUT: "step {} times out",
    FaultKind.IN_DOUBT: "step {} is in doubt",
    FaultKind.REJECTED: "question {} is rejected",
    FaultKind.UNANSWERED: "question {} times out",
}


class Fault(NamedTuple):
    """Something that fails.

    Attributes:
        run: which run of the environment, by the order of their start, from 0.
        command: number of the step or question.
        kind: how.
    """

    run: int
    command: int
    kind: FaultKind


class Cancellation(NamedTuple):
    """A request to cancel.

    Attributes:
        turn: after which turn of the run, from 1.
        is_alone: it is seen before anything else that is ready; else beside it.
    """

    turn: int
    is_alone: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is disturbed in one run; nothing, by default.

    Attributes:
        crash: at which crash point, counted from 1.
        fault: what fails.
        cancellation: when the run is asked to cancel.
        order: which of the facts that are ready is delivered, at each choice; None: all as soon as they are ready. Beyond its
            end the oldest comes first.
    """

    crash: int | None = None
    fault: Fault | None = None
    cancellation: Cancellation | None = None
    order: tuple[int, ...] | None = None

    def __str__(self) -> str:
        """The seed."""
        parts: list[str] = []
        if self.fault is not None:
            parts.append(f"fault={self.fault.run}.{self.fault.command}.{self.fault.kind}")
        if self.cancellation is not None:
            parts.append(f"cancel={self.cancellation.turn}{'' if self.cancellation.is_alone else '+'}")
        if self.order is not None:
            parts.append(f"order={'.'.join(map(str, self.order)) or '0'}")
        if self.crash is not None:
            parts.append(f"crash={self.crash}")
        return "/".join(parts) or "undisturbed"

    @classmethod
    def parse(cls, seed: str) -> Schedule:
        """The schedule of a seed that a finding has printed.

        Raises:
            DefinitionError: it is none.
        """
        crash, fault, cancellation, order = None, None, None, None
        try:
            for part in [] if seed == "undisturbed" else seed.split("/"):
                name, value = part.split("=")
                if name == "crash":
                    crash = int(value)
                elif name == "cancel":
                    cancellation = Cancellation(int(value.removesuffix("+")), not value.endswith("+"))
                elif name == "order":
                    order = tuple(map(int, value.split(".")))
                elif name == "fault":
                    run, command, kind = value.split(".")
                    fault = Fault(int(run), int(command), FaultKind(kind))
                else:
                    raise ValueError(name)
        except ValueError:
            raise DefinitionError(
                f"expected seed= to be a number or the seed of a finding, such as 'crash=7', got {seed!r}"
            ) from None
        return cls(crash, fault, cancellation, order)
