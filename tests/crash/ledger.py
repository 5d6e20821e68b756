"""What really happened, as the world outside the store remembers it: lines of a file that survives every kill."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from durable import step_info


class Ledger:
    """An append-only file of JSON lines, each on disk before the writer goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, kind: str, **fields: Any) -> None:
        """Append a line."""
        line = json.dumps({"kind": kind, "pid": os.getpid(), **fields}) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def has(self, kind: str, label: str) -> bool:
        """Whether some process, perhaps one that is dead, noted this."""
        return any(line["kind"] == kind and line.get("label") == label for line in self.lines())

    def lines(self) -> list[dict[str, Any]]:
        """Every line, oldest first."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]


_current: list[Ledger] = []


def open_ledger(path: Path) -> Ledger:
    """The ledger of this process, which its steps find by ``current_ledger``."""
    _current[:] = [Ledger(path)]
    return _current[0]


def current_ledger() -> Ledger:
    """The ledger of this process."""
    return _current[0]


def effect(label: str) -> None:
    """Note that the running step does what it is for: an effect on the world that a crash does not undo."""
    info = step_info()
    current_ledger().note(
        "effect",
        label=label,
        key=info.idempotency_key,
        attempt=info.attempt,
        step=info.step,
        run_id=info.run_id,
        command=info.command,
    )
