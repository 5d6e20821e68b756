"""What an activation of a run comes to: what to commit, and what to do once that is durable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from durable.commands import Command
from durable.history import Event, Fact
from durable.kernel.mailbox import Rejection
from durable.kernel.runlog import LogLine


@dataclass(slots=True)
class Activation:
    """What came of applying facts.

    Attributes:
        events: to append to history, in order.
        commands: to carry out once the events are durable, in order.
        rejections: updates that were refused and leave no event.
        unread: facts that were not looked at; they belong to the next turn, or to the run that continues this one.
        blobs: payloads that are stored by hash.
        logs: (level, message) lines that workflow code logged.
    """

    events: list[Event] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    unread: list[Fact] = field(default_factory=list)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    logs: list[LogLine] = field(default_factory=list)
