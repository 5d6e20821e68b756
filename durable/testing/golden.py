"""Histories as golden files: what a run did, without times and ids.

``plain_history`` is the form in which histories are compared, with a file and with one another: one object an event, in order.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json, to_json

from durable.codec import Envelope
from durable.history import Event, EventKind
from durable.testing.handle import SimulatedHandle

UPDATE_VARIABLE: Final = "DURABLE_UPDATE_GOLDENS"
"""Set by ``pytest --durable-update-goldens``: files are written instead of compared."""

_VOLATILE: Final = frozenset(
    {
        "anyio", "continued_from", "deadline_us", "for", "input_hash", "kernel", "message_id", "parent_workflow_id", "python",
        "retry_of", "run_id", "salt", "seed", "update_id", "workflow_id",
    }
)  # fmt: skip
"""Details that are times, ids, or say where the run began."""

_FAILURES: Final = frozenset(
    {
        EventKind.STEP_FAILED,
        EventKind.CHILD_FAILED,
        EventKind.RUN_FAILED,
        EventKind.UPDATE_FAILED,
        EventKind.ROLLBACK_FAILED,
    }
)


def plain_history(events: Sequence[Event], envelope: Envelope | None = None) -> list[dict[str, Any]]:
    """A history without times and ids.

    Args:
        envelope: opens payloads that pass through codecs.

    Returns:
        one dict an event: ``kind``, and where there are any ``command``, ``name``, ``detail`` and ``value``.
    """
    opener = envelope if envelope is not None else Envelope()
    return [_plain(event, opener) for event in events]


def _plain(event: Event, envelope: Envelope) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": str(event.kind)}
    if event.command is not None:
        fields["command"] = event.command
    if event.name is not None:
        fields["name"] = event.name
    detail = {key: value for key, value in event.details.items() if key not in _VOLATILE}
    if detail:
        fields["detail"] = detail
    if event.payload is not None:
        value = from_json(envelope.open(event.payload))
        is_failure = event.kind in _FAILURES and isinstance(value, dict)
        fields["value"] = {"type": value["type"][-1], "message": value["message"]} if is_failure else value
    return fields


def assert_history(
    run: SimulatedHandle[Any] | Sequence[Event],
    path: str | Path,
    *,
    update: bool | None = None,
) -> None:
    """Compare what a run did with a golden file, ignoring times and ids.

    Args:
        run: the handle of a simulated run, or the events of any (``await run.history()``).
        path: of the file, JSON.
        update: write the file instead; by default when pytest runs with ``--durable-update-goldens``.

    Raises:
        AssertionError: they differ, with the difference; or there is no such file.
    """
    __tracebackhide__ = True
    events = run.events if isinstance(run, SimulatedHandle) else list(run)
    envelope = run.envelope if isinstance(run, SimulatedHandle) else None
    text = _text(plain_history(events, envelope))
    file = Path(path)
    if update if update is not None else bool(os.environ.get(UPDATE_VARIABLE)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return
    how = "write it with: pytest --durable-update-goldens"
    if not file.is_file():
        raise AssertionError(f"there is no golden history {file}; {how}")
    golden = file.read_text(encoding="utf-8")
    if golden != text:
        lines = difflib.unified_diff(golden.splitlines(), text.splitlines(), str(file), "this run", lineterm="")
        raise AssertionError(
            "the run did something else than its golden history; if that is meant, " + how + "\n" + "\n".join(lines)
        )


def _text(history: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(to_json(event).decode() for event in history) + "\n]\n"
