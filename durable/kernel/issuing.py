"""Commands on their way out of workflow code: numbered, refused where they must be, and on replay held against history.

Commands are numbered in order of issue (rule K5). During replay each must be what history records under its number, and at
the end of a batch everything that is recorded for it must have been issued (rule K6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from durable.commands import CloseRun, Command, StartChild
from durable.errors import DeterminismError, NondeterminismError, ReadOnlyError
from durable.history import FACTS, Event, EventKind
from durable.kernel.line import called_name, definition_line, raised_line, request_line, waiting_line
from durable.kernel.matcher import CANCELS, UNCOMPARED, key_of, mismatch

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer


class InputDifference(NamedTuple):
    """An input that differs from the recorded one: no divergence, unless replay is strict (rule K6).

    Attributes:
        record: what history holds.
        payload: the envelope of the input that is asked for now.
        error: both in words, with the source line.
    """

    record: Event
    payload: str | None
    error: NondeterminismError


class Issuer:
    """Takes the commands of one run.

    Attributes:
        batch: the commands of the batch that is being drained, in order of issue.
        differences: those that are not divergences.
        fatal: what makes the run stuck, whatever workflow code catches.
    """

    __slots__ = ("_number", "_recorded", "_records", "_refusal", "_run", "batch", "differences", "fatal")

    def __init__(self, run: Replayer) -> None:
        self._run = run
        self.batch: list[Command] = []
        self.differences: list[InputDifference] = []
        self.fatal: BaseException | None = None
        self._number = 0
        self._refusal: str | None = None
        self._recorded: Sequence[Event] = ()
        self._records: dict[Any, Event] | None = None

    # -- from workflow code -------------------------------------------------------------------------------

    def next_number(self) -> int:
        """The number of the next command (rule K5).

        Raises:
            ReadOnlyError: a query, validator or predicate asked for it.
        """
        if self._refusal is not None:
            self._refuse()
        self._number = number = self._number + 1
        return number

    def issue(self, command: Command) -> None:
        """Take a command; during replay it must be what history records."""
        if self._refusal is not None:
            self._refuse()
        self.batch.append(command)
        if self._records is not None:
            self._match(command, self._records)

    def is_recorded_patch(self, patch: str) -> bool:
        """Whether the batch that is replayed marks this patch."""
        return self._records is not None and key_of(EventKind.PATCH_MARKED, None, patch) in self._records

    # -- refusing -----------------------------------------------------------------------------------------

    def refuse(self, who: str | None) -> None:
        """Refuse every command from now on, naming ``who`` asked; None allows them again."""
        self._refusal = who

    @contextmanager
    def read_only(self, who: str) -> Iterator[None]:
        """Refuse every command within, naming ``who`` asked. Tasks and futures are refused as well (rule K4)."""
        loop = self._run.loop
        refusal, before = self._refusal, loop.read_only
        self._refusal = loop.read_only = before or who
        try:
            yield
        finally:
            self._refusal, loop.read_only = refusal, before

    def check_writable(self) -> None:
        """Refuse what is asked for if a query, validator or predicate asks."""
        if self._run.loop.read_only is not None:
            self._refuse()

    def _refuse(self) -> NoReturn:
        who = self._run.loop.read_only
        if who is None:
            raise asyncio.CancelledError("the run is over")
        raise ReadOnlyError(f"{who} must not change the run; it called {called_name()}")

    # -- against history ----------------------------------------------------------------------------------

    def expect(self, recorded: Sequence[Event]) -> None:
        """Hold the commands of the next batch against the records of this one, until ``check_all_issued``."""
        self.batch = []
        self._recorded = recorded
        self._records = records = {}
        for event in recorded:
            kind = event.kind
            if kind not in FACTS:
                number = event.command
                key = number if number is not None and kind not in CANCELS else key_of(kind, number, event.name)
                records[key] = event

    def check_all_issued(self) -> None:
        """At the end of a replayed batch, every record must have been asked for, and nothing else."""
        assert self._records is not None
        records = self._records.values()
        issued = [command for command in self.batch if not command.dropped]
        self._records = None
        if len(records) != len(issued) or not all(map(_is_recorded, records, issued)):
            self._check_each(list(records), issued)
        self.batch = []

    def _check_each(self, records: Sequence[Event], issued: Sequence[Command]) -> None:
        asked = {key_of(command.kind, command.number, command.name) for command in issued}
        known = {key_of(record.kind, record.command, record.name) for record in records}
        unasked = (r for r in records if key_of(r.kind, r.command, r.name) not in asked and not _may_be_absent(r))
        unknown = (c for c in issued if key_of(c.kind, c.number, c.name) not in known)
        record, command = next(unasked, None), next(unknown, None)
        if record is not None or command is not None:
            where = waiting_line(self._run.loop.pending_tasks())
            if where and command is None:
                where = f"; the code waits{where}"
            raise mismatch(self._run.title, self._recorded, record, command, where)

    def _match(self, command: Command, records: dict[Any, Event]) -> None:
        kind, number = command.kind, command.number
        key = number if number is not None and kind not in CANCELS else key_of(kind, number, command.name)
        record = records.get(key)
        if record is None:
            if not command.dropped and isinstance(command, CloseRun):
                self.stop(mismatch(self._run.title, self._recorded, self._unasked(records), command, self._end_line()))
            return  # it may still be taken back within this batch; the end of the batch decides
        if record.kind != kind or record.name != command.name:
            self.stop(mismatch(self._run.title, self._recorded, record, command, request_line()))
        if kind == EventKind.CHILD_STARTED:
            assert isinstance(command, StartChild)
            command.adopt(record)
        if record.payload != command.payload and kind not in UNCOMPARED:
            self._compare_input(record, command)

    def _compare_input(self, record: Event, command: Command) -> None:
        run = self._run
        asked, recorded = command.payload, record.payload
        if asked and recorded and run.payloads.matches(asked, recorded, record.details.get("digest")):
            return
        error = mismatch(
            run.title, self._recorded, record, command, request_line(),
            cause=f"the input differs from the recorded one: {_shorten(record.payload)} became {_shorten(command.payload)}",
        )  # fmt: skip
        self.differences.append(InputDifference(record, asked, error))
        if run.strict:
            self.stop(error)

    def _unasked(self, records: dict[Any, Event]) -> Event | None:
        """The first record of the batch that nobody has asked for so far."""
        asked = {key_of(command.kind, command.number, command.name) for command in self.batch}
        unasked = (r for r in records.values() if key_of(r.kind, r.command, r.name) not in asked)
        return next((record for record in unasked if not _may_be_absent(record)), None)

    def _end_line(self) -> str:
        """Where the function raised; where it is defined, if it returned."""
        run = self._run
        error = run.failure
        if error is None and run.root is not None and run.root.done() and not run.root.cancelled():
            error = run.root.exception()
        return (error is not None and raised_line(error)) or definition_line(run.definition.fn)

    # -- divergence ---------------------------------------------------------------------------------------

    def diverge(self, event: Event, cause: str) -> NoReturn:
        """Make the run stuck because ``event`` cannot be applied."""
        self.stop(mismatch(self._run.title, [event], event, None, "", cause=cause))

    def stop(self, error: NondeterminismError | Exception) -> NoReturn:
        """Make the run stuck; no ``except`` of workflow code can prevent it."""
        self.fatal = self.fatal or error
        raise DeterminismError(str(error)) from error


def _is_recorded(record: Event, command: Command) -> bool:
    return record.command == command.number and record.kind == command.kind


def _may_be_absent(record: Event) -> bool:
    return record.kind == EventKind.PATCH_MARKED and bool(record.details.get("deprecated"))


def _shorten(payload: str | None, limit: int = 120) -> str:
    text = payload or "nothing"
    return text if len(text) <= limit else f"{text[:limit]}..."
