"""Output streams: items that others read while the run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.commands import WriteStream

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer


class Stream:
    """An append-only output of a run."""

    __slots__ = ("_run", "name")

    def __init__(self, run: Replayer, name: str) -> None:
        self._run = run
        self.name = name

    def __repr__(self) -> str:
        return f"<stream {self.name}>"

    def write(self, item: Any) -> None:
        """Append a JSON-compatible value or pydantic model."""
        run = self._run
        position = run.positions.get(self.name, 0)
        run.issuer.issue(WriteStream(run.issuer.next_number(), self.name, position, run.payloads.seal_any(item)))
        run.positions[self.name] = position + 1
