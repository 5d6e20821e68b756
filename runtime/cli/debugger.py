"""pdb in the frames of a run that holds still."""

from __future__ import annotations

import io
import pdb
import sys
from typing import TYPE_CHECKING, Any

from durable.errors import ConfigurationError
from durable.replay.standstill import Stand, Standstill

if TYPE_CHECKING:
    from runtime.cli.session import Session


class Debugger(pdb.Pdb):
    """pdb with two commands more: ``tasks`` and ``task NAME``.

    Args:
        stands: where the tasks of the run stand.
    """

    def __init__(self, stands: list[Stand], **options: Any) -> None:
        super().__init__(nosigint=True, **options)
        self._stands = stands

    def look(self, stand: Stand) -> None:
        """Open the debugger at a task."""
        self.reset()
        self.interaction(None, stand.traceback())

    def do_tasks(self, arg: str) -> None:  # noqa: ARG002 - the signature of a command
        """tasks

        List the tasks of the run and where each of them stands.
        """
        for stand in self._stands:
            self.message(f"{stand.task}: {stand.where}")

    def do_task(self, arg: str) -> None:
        """task NAME

        Go to the innermost frame of another task of the run.
        """
        stand = next((one for one in self._stands if one.task == arg.strip()), None)
        if stand is None:
            self.error(f"no task is called {arg.strip()!r}; see: tasks")
            return
        self.forget()
        self.setup(None, stand.traceback())
        self.print_stack_entry(self.stack[self.curindex])


def open_debugger(session: Session, found: Standstill, commands: str | None) -> None:
    """Say where the run stands, and open the debugger there.

    Args:
        commands: what to do instead of asking on the terminal.

    Raises:
        ConfigurationError: none of the run's code is there to be looked at.
    """
    if not found.stands:
        reason = found.breakage.message if found.breakage is not None else _nothing(found)
        raise ConfigurationError(reason)
    if found.breakage is not None:
        session.output.note(found.breakage.message)
    else:
        waits = f", it waits for {found.waits_for}" if found.waits_for else ""
        session.output.note(f"after event {found.event}{waits}")
    if len(found.stands) > 1:
        session.output.note(f"{len(found.stands)} tasks; see: tasks")
    if commands is None:
        Debugger(found.stands).look(found.stands[0])
    else:
        Debugger(found.stands, stdin=io.StringIO(commands), stdout=sys.stdout, readrc=False).look(found.stands[0])


def _nothing(found: Standstill) -> str:
    if found.event == 0:
        return "the run has not begun: it has no events"
    return (
        f"the function of the run has ended by event {found.event}; look at an earlier one with --at EVENT, or leave --at out for "
        "the last one at which it stood"
    )
