"""Which runs a command is about: from its flags to a filter of the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from durable.errors import ConfigurationError
from durable.handle import RollbackStatus, RunStatus
from runtime.cli.argument import parse_pairs
from runtime.cli.moment import parse_instant

OPEN = tuple(status.value for status in RunStatus if not status.is_closed)


@dataclass(frozen=True)
class Flags:
    """The filter flags of a command, as they were given."""

    status: list[str] | None = None
    workflow: str | None = None
    prefix: str | None = None
    actor: str | None = None
    started_after: str | None = None
    started_before: str | None = None
    attribute: list[str] | None = None
    rollback: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether any of them is."""
        return any(value for value in vars(self).values())

    def conditions(self, default_status: tuple[str, ...] = ()) -> dict[str, Any]:
        """Arguments of ``Client.list`` and ``Client.count``.

        Raises:
            ConfigurationError: a flag cannot be understood.
        """
        return {
            "status": _statuses(self.status) if self.status else default_status,
            "workflow": self.workflow,
            "workflow_id_prefix": self.prefix,
            "actor": self.actor,
            "started_after": parse_instant(self.started_after, "--started-after") if self.started_after else None,
            "started_before": parse_instant(self.started_before, "--started-before") if self.started_before else None,
            "attributes": parse_pairs(self.attribute or (), "--attribute"),
            "rollback": _rollback(self.rollback),
        }


def _rollback(given: str | None) -> str | None:
    if given is not None and given not in list(RollbackStatus):
        raise ConfigurationError(f"expected --rollback to be one of {', '.join(RollbackStatus)}, got {given!r}")
    return given


def _statuses(given: list[str]) -> tuple[str, ...]:
    known = {status.value for status in RunStatus}
    chosen: list[str] = []
    for item in given:
        for name in item.split(","):
            if name == "open":
                chosen.extend(OPEN)
            elif name in known:
                chosen.append(name)
            else:
                raise ConfigurationError(f"expected --status to be open or one of {', '.join(RunStatus)}, got {name!r}")
    return tuple(dict.fromkeys(chosen))
