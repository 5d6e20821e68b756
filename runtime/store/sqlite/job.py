"""Jobs of the writer: what is to be written, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from durable.errors import ConflictError, DurableError, StoreError
from runtime.store.protocol import CommitOutcome
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.turn import write_turn
from runtime.store.turn import Turn

R = TypeVar("R")


class Job(Protocol):
    """One thing to write.

    Attributes:
        is_volatile: it need not survive power loss.
    """

    is_volatile: bool

    def mentions(self) -> tuple[Iterable[str], Iterable[str]]:
        """Run ids and workflow ids that it will look at."""
        ...

    def run(self, session: Session) -> None:
        """Write it. May be called again after a rollback."""
        ...

    def fail(self, error: Exception) -> None:
        """Note that nothing of it was written, and why."""
        ...

    def finish(self) -> None:
        """Tell whoever waits, on the event loop's thread."""
        ...

    def parts(self) -> Sequence[Job]:
        """The jobs that it consists of, to be run one by one."""
        ...


class Call(Generic[R]):
    """A method of the store that is awaited."""

    def __init__(
        self,
        apply: Callable[[Session], R],
        future: asyncio.Future[R],
        *,
        run_ids: Iterable[str] = (),
        workflow_ids: Iterable[str] = (),
        is_volatile: bool = False,
    ) -> None:
        self.is_volatile = is_volatile
        self._apply = apply
        self._future = future
        self._mentions = run_ids, workflow_ids
        self._result: R | None = None
        self._error: Exception | None = None

    def mentions(self) -> tuple[Iterable[str], Iterable[str]]:
        return self._mentions

    def run(self, session: Session) -> None:
        self._error = None
        try:
            self._result = self._apply(session)
        except DurableError as error:
            self._error = error

    def fail(self, error: Exception) -> None:
        self._error = error

    def finish(self) -> None:
        if self._future.done():
            return
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._result)  # type: ignore[arg-type]

    def parts(self) -> Sequence[Job]:
        return [self]


class Commit:
    """Turns with a callback for their outcomes."""

    def __init__(self, turns: Sequence[Turn], done: Callable[[Sequence[CommitOutcome]], None]) -> None:
        self.is_volatile = False
        self._turns = turns
        self._done = done
        self._outcomes: list[CommitOutcome] = []

    def mentions(self) -> tuple[Iterable[str], Iterable[str]]:
        return [turn.run_id for turn in self._turns], ()

    def run(self, session: Session) -> None:
        self._outcomes = [write_turn(session, turn) for turn in self._turns]

    def fail(self, error: Exception) -> None:
        self._outcomes = [as_store_error(error)] * len(self._turns)

    def finish(self) -> None:
        self._done(self._outcomes)

    def parts(self) -> Sequence[Job]:
        self._outcomes = [None] * len(self._turns)
        return [_OneTurn(turn, self._outcomes, index) for index, turn in enumerate(self._turns)]


class _OneTurn:
    """A turn of a ``Commit`` in a transaction of its own."""

    def __init__(self, turn: Turn, outcomes: list[CommitOutcome], index: int) -> None:
        self.is_volatile = False
        self._turn = turn
        self._outcomes = outcomes
        self._index = index

    def mentions(self) -> tuple[Iterable[str], Iterable[str]]:
        return [self._turn.run_id], ()

    def run(self, session: Session) -> None:
        self._outcomes[self._index] = write_turn(session, self._turn)

    def fail(self, error: Exception) -> None:
        self._outcomes[self._index] = as_store_error(error)

    def finish(self) -> None:
        """The commit that it is part of tells."""

    def parts(self) -> Sequence[Job]:
        return [self]


def as_store_error(error: Exception) -> ConflictError | StoreError:
    """The outcome of a turn that could not be written."""
    if isinstance(error, ConflictError | StoreError):
        return error
    wrapped = StoreError(f"a turn could not be written: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
