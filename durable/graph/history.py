"""From the history of a run to its picture: what was done, in order, and what became of it.

Operations that one batch asked for were under way at once; they are drawn side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from durable.duration import to_instant
from durable.graph.shape import Branch, Group, Node, Operation, Picture
from durable.history import TERMINAL, Event, EventKind, split_batches

_OUTCOMES: Final[Mapping[str, str]] = {
    EventKind.STEP_COMPLETED: "done",
    EventKind.STEP_FAILED: "failed",
    EventKind.STEP_CANCELLED: "cancelled",
    EventKind.TIMER_FIRED: "done",
    EventKind.TIMER_CANCELLED: "cancelled",
    EventKind.CHILD_COMPLETED: "done",
    EventKind.CHILD_FAILED: "failed",
    EventKind.QUESTION_ANSWERED: "done",
    EventKind.QUESTION_WITHDRAWN: "cancelled",
    EventKind.MESSAGE_DELIVERED: "done",
    EventKind.MESSAGE_FAILED: "failed",
}

_ENDS: Final[Mapping[str, tuple[str, str]]] = {
    EventKind.RUN_COMPLETED: ("completed", "done"),
    EventKind.RUN_FAILED: ("failed", "failed"),
    EventKind.RUN_CANCELLED: ("cancelled", "cancelled"),
    EventKind.RUN_TERMINATED: ("terminated", "failed"),
    EventKind.RUN_CONTINUED: ("continued as new", "done"),
}


def draw_history(events: Sequence[Event], title: str) -> Picture:
    """The picture of a run.

    Args:
        events: its history.
        title: its name.
    """
    outcomes = {event.command: event for event in events if event.kind in _OUTCOMES}
    ended = {event.details.get("update_id"): event for event in events if event.kind in _UPDATE_ENDS}
    is_closed = any(event.kind in TERMINAL for event in events)
    nodes: list[Node] = []
    for batch in split_batches(events):
        facts = [found for event in batch if (found := _fact(event, ended)) is not None]
        asked = [found for event in batch if (found := _asked(event, outcomes, is_closed=is_closed)) is not None]
        nodes += facts
        if len(asked) > 1:
            nodes.append(Group("parallel", "at once", [Branch("", [one]) for one in asked]))
        else:
            nodes += asked
        nodes += [_end(event) for event in batch if event.kind in _ENDS]
    return Picture(title, nodes)


_UPDATE_ENDS: Final = frozenset({EventKind.UPDATE_COMPLETED, EventKind.UPDATE_FAILED})


def _fact(event: Event, ended: Mapping[str | None, Event]) -> Operation | None:
    name = event.name or ""
    match event.kind:
        case EventKind.SIGNAL_RECEIVED:
            return Operation("signal", f"signal {name}", _moment(event), "done")
        case EventKind.UPDATE_ACCEPTED:
            end = ended.get(event.details.get("update_id"))
            status = "open" if end is None else "failed" if end.kind == EventKind.UPDATE_FAILED else "done"
            return Operation("update", f"update {name}", _moment(event), status)
        case EventKind.CANCEL_REQUESTED:
            return Operation("signal", "cancellation requested", _moment(event), "cancelled")
        case EventKind.RUN_TIMED_OUT:
            return Operation("signal", "the run's time is over", _moment(event), "failed")
        case _:
            return None


def _asked(event: Event, outcomes: Mapping[int | None, Event], *, is_closed: bool) -> Operation | None:
    outcome = outcomes.get(event.command)
    status = _OUTCOMES[outcome.kind] if outcome is not None else "cancelled" if is_closed else "open"
    name, detail = event.name or "", event.details
    match event.kind:
        case EventKind.STEP_SCHEDULED if detail.get("role") == "compensation":
            return Operation("undo", name, f"undoes {detail.get('undoes', '')}", status)
        case EventKind.STEP_SCHEDULED:
            return Operation("step", name, _span(event, outcome), status)
        case EventKind.CHILD_STARTED:
            return Operation("child", name, str(detail.get("workflow_id", "")), status)
        case EventKind.TIMER_STARTED if name == "sleep":
            return Operation("timer", f"sleep until {to_instant(detail['deadline_us']):%Y-%m-%d %H:%M:%S}", "", status)
        case EventKind.QUESTION_ASKED:
            return Operation("question", str(detail.get("prompt", name)), name, status)
        case EventKind.MESSAGE_SENT:
            return Operation("message", f"{name} to {detail.get('workflow_id', '')}", "", status)
        case EventKind.ROLLBACK_STARTED:
            return Operation("rollback", "rollback", _moment(event), "done")
        case _:
            return None


def _end(event: Event) -> Operation:
    words, status = _ENDS[event.kind]
    return Operation("end", words, _moment(event), status)


def _span(event: Event, outcome: Event | None) -> str:
    """How long it took, and how often it was tried."""
    if outcome is None:
        return ""
    attempts = int(outcome.details.get("attempts", 1))
    seconds = (outcome.at_us - event.at_us) / 1e6
    return f"{seconds:.3g} s" + (f", {attempts} attempts" if attempts > 1 else "")


def _moment(event: Event) -> str:
    return f"{to_instant(event.at_us):%Y-%m-%d %H:%M:%S}"
