"""One run in the harness: what a store would keep of it, and its replayer while it is in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from durable.codec import Envelope
from durable.handle import RollbackStatus, RunStatus
from durable.history import TERMINAL, Event, Fact
from durable.info import RunIdentity
from durable.kernel.replayer import Replayer
from durable.timeline.line import timeline_lines
from durable.timeline.text import plain_text
from durable.timeline.timeline import Timeline
from durable.workflow import WorkflowDefinition

if TYPE_CHECKING:
    from durable.commands import AskQuestion, StartChild
    from durable.testing.clock import VirtualAlarm
    from durable.testing.execution import Execution


@dataclass(eq=False, slots=True)
class SimulatedRun:
    """A run and everything that a crash leaves of it; the replayer, the alarm and the executions are memory.

    Attributes:
        definition: the workflow.
        identity: the names of the run.
        actor: who started it.
        input_digest: of its arguments.
        ready_at_us: when its first turn is due.
        parent: the run that started it as a child, and on which command.
        inbox: accepted facts that no turn has taken.
        history: committed events.
        replayer: the run in memory.
        alarm: waits for its next timer.
        steps: its open steps by command number.
        questions: what people are asked, by command number.
        updates: (state, payload) of updates by id: ``pending``, ``completed``, ``failed``, ``rejected`` or ``closed``.
        is_verified: its history was replayed here.
        is_mirrored: the same in a process with another hash seed.
        stuck: why it cannot go on.
        waiting_for: what it waits for, in words, since its newest turn.
    """

    definition: WorkflowDefinition[..., Any]
    identity: RunIdentity
    actor: str
    input_digest: str
    ready_at_us: int
    parent: tuple[SimulatedRun, StartChild] | None = None
    on_parent_close: str = "terminate"
    inbox: list[Fact] = field(default_factory=list)
    history: list[Event] = field(default_factory=list)
    status: RunStatus = RunStatus.PENDING
    rollback: RollbackStatus = RollbackStatus.NONE
    replayer: Replayer | None = None
    alarm: VirtualAlarm | None = None
    is_dirty: bool = False
    steps: dict[int, Execution] = field(default_factory=dict)
    questions: dict[int, AskQuestion] = field(default_factory=dict)
    updates: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)
    streams: dict[str, list[str]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    logs: list[tuple[str, str]] = field(default_factory=list)
    children: list[SimulatedRun] = field(default_factory=list)
    successor: SimulatedRun | None = None
    is_verified: bool = False
    is_mirrored: bool = False
    stuck: BaseException | None = None
    waiting_for: str | None = None

    @property
    def workflow_id(self) -> str:
        """Chosen by the user."""
        return self.identity.workflow_id

    @property
    def run_id(self) -> str:
        """Ours."""
        return self.identity.run_id

    @property
    def workflow(self) -> str:
        """Name of the definition."""
        return self.identity.workflow

    @property
    def newest(self) -> SimulatedRun:
        """The run itself, or if it continued as new, the one that goes on."""
        run = self
        while run.successor is not None:
            run = run.successor
        return run

    @property
    def ending(self) -> Event:
        """The event that ended it."""
        return next(event for event in reversed(self.history) if event.kind in TERMINAL)

    def forget(self) -> None:
        """Drop what is only in memory, but for the steps."""
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None
        if self.replayer is not None:
            self.replayer.evict()
            self.replayer = None

    def timeline(self, envelope: Envelope) -> str:
        """What happened, a line each."""
        timeline = Timeline(envelope.open)
        timeline.feed(self.history)
        return "\n".join(plain_text(*cells).rstrip() for cells in timeline_lines(timeline))
