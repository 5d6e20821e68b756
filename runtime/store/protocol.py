"""The store: one protocol, every method one transaction that says what it guarantees.

Every store passes the suite in ``tests/conformance``. The rules are H, S and D of docs/architecture.md. What
a method has acknowledged survives power loss, unless its text says otherwise. Every method may raise
``StoreUnavailableError``: nothing was written, and trying again later is right. Methods are called on the
event loop's thread; callbacks and listeners run there.

Words: a run is *open* until its status is final; the *current* run of a workflow id is the open one, else
the newest. Runs are *newer* and *older*, *first* and *last* by the order in which the store created them,
whatever a clock said. A run *wants a worker* while ``ready_at_us <= now``. *Ready now* means that it wants
one from now on, unless it is paused, stuck, or before the first turn of a delayed start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from durable.errors import ConflictError, StoreError
from durable.history import Event
from runtime.store.change import Change
from runtime.store.row import (
    AttemptRow,
    Claimed,
    InboxRow,
    LogRow,
    NewRun,
    QueryRow,
    QuestionRow,
    RunFilter,
    RunRow,
    StartOutcome,
    StreamItem,
    TaskRow,
    UpdateRow,
    WorkerRow,
)
from runtime.store.turn import Turn

CommitOutcome = None | ConflictError | StoreError
"""What became of a turn: None when it is durable; ``StoreUnavailableError`` when trying again later is right; any other
``StoreError`` when the turn cannot be written at all, like text that is no Unicode."""


class Lease(Protocol):
    """A worker's sign of life, renewed by a thread of its own where the store has one (rule D3).

    One that has lapsed stays so: the worker joins again.
    """

    def is_fresh(self) -> bool:
        """Whether this worker may still start effects. Local, cheap, on the boot clock: no I/O."""
        ...

    def loop_alive(self) -> None:
        """Tell the heart that the event loop turns; a loop silent beyond the watchdog's limit stops the
        heart."""
        ...

    async def end(self) -> None:
        """Stop and remove the sign of life; idempotent. Runs and tasks still owned are given back without a
        loss: owner cleared, epoch raised, runs ready now."""
        ...

    def remove(self) -> None:
        """Stop and remove the sign of life without giving anything back, as if the worker had died; idempotent."""
        ...


class Store(Protocol):
    """Where runs live."""

    @property
    def url(self) -> str:
        """The address that opens this store again, without passwords."""
        ...

    # -- life ---------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and migrate to the current schema. Idempotent.

        Raises:
            StoreFormatError: another program's database, a newer schema, or damage; nothing was changed.
            StoreError: it cannot be read or written; the message says what to do.
        """
        ...

    async def close(self) -> None:
        """Finish submitted commits and disconnect. Idempotent."""
        ...

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``listener`` after commits, own ones at once, those of other processes soon; never for what
        was refused. Returns the way to stop, which is idempotent."""
        ...

    # -- workers ------------------------------------------------------------------------------------------

    async def join(self, worker: WorkerRow, lease_seconds: float) -> Lease:
        """Register a worker and begin its sign of life."""
        ...

    async def workers(self) -> list[WorkerRow]:
        """The workers that are alive."""
        ...

    async def take_over(self, now_us: int) -> int:
        """Free the runs and tasks of workers that are dead, past their lease, or never joined: owner cleared,
        epoch raised, ready now, ``lost`` set on runs and ``losses`` raised on tasks. Returns how many were
        freed. A paused or stuck run is made ready only if a fact that wakes it is unread. Safe to call at any
        time by any worker."""
        ...

    async def claim(
        self, worker_id: str, workflows: Sequence[str], queues: Sequence[str], limit: int, now_us: int
    ) -> list[Claimed]:
        """Take up to ``limit`` runs that want a worker: those without an owner whose workflow and queue are
        given (epoch raised, owner set), and those that ``worker_id`` owns already, whatever their workflow
        and queue (epoch unchanged). Their ``ready_at_us`` is cleared. Those that have wanted one for longest
        come first. Paused and stuck runs are returned only when something that wakes them arrived. Inbox rows
        stay until a turn consumes them."""
        ...

    async def next_ready_at(self, worker_id: str, workflows: Sequence[str], queues: Sequence[str]) -> int | None:
        """When the next run will want this worker; None if none will by itself. Reads only."""
        ...

    async def adopt(self, worker_id: str, run_ids: Sequence[str]) -> None:
        """Make ``worker_id`` the owner of those of these runs that are open and have no owner (epoch raised), whether or
        not they are ready. Its next claim returns those that are. A closed run counts as open while its rollback goes
        on, or is asked to. Runs that have an owner, are closed or unknown are left alone."""
        ...

    async def unstick(
        self, worker_id: str, codes: Mapping[str, str], queues: Sequence[str], limit: int, now_us: int
    ) -> int:
        """Make ``worker_id`` the owner of up to ``limit`` stuck runs without one, and them ready now: runs of these
        workflows and queues that were not tried with the worker's code, which is the workflow's in ``codes`` (rule L9).
        The oldest come first. Returns how many."""
        ...

    def commit(self, turns: Sequence[Turn], done: Callable[[Sequence[CommitOutcome]], None]) -> None:
        """Write turns: each all or nothing, many in one database transaction; the conflict of one does not
        fail the others (rule D1).

        ``done`` gets one outcome a turn, in order, on the event loop's thread, possibly before this returns.
        A turn conflicts if the run's ``seq`` or ``epoch`` is not the expected one, or the run does not exist.
        Commits are applied in the order of the calls. With the outcomes the caller has: events appended;
        blobs stored once by hash; inbox rows consumed and delivered, each target woken as by ``send``;
        children, successors, tasks, questions, updates, attributes, published values, stream items and logs
        written; the row changed.
        """
        ...

    # -- starting and sending -----------------------------------------------------------------------------

    async def start(self, new: NewRun, update: UpdateRow | None = None) -> StartOutcome:
        """Create a run with its first inbox rows, or find the one that has the id (``NewRun.on_conflict``).
        Concurrent starts of one id make one run. ``new.messages`` are delivered to the run that results, once
        per message id, whether or not it was created here. ``update`` is written in the same transaction; for
        an update id that exists it is not, and ``UpdateAccepted`` messages are left out.

        Raises:
            RunExistsError: as ``on_conflict`` says; or ``new.retry_of`` is not the newest run of the id.
            RunClosedError: the run that results has ended and takes no new message; nothing was written.
        """
        ...

    async def send(self, row: InboxRow, update: UpdateRow | None = None) -> RunRow:
        """Deliver a fact to a run, once per message id (a repeated one is acknowledged again, also when the
        run has ended, and changes nothing), and make the run ready at ``row.at_us``. Returns the run. A message
        to a run that continued as new or was retried goes to the run that goes on; outcomes do not.

        Paused runs are woken only by ``RunResumed``, ``CancelRequested`` and nothing else; stuck ones only by
        ``RunResumed``; those whose start is delayed only by ``CancelRequested`` until the delay is over.
        ``RollbackRequested`` may be sent to a closed run whose rollback failed, outcomes of steps to one
        whose rollback is running, all others only to open ones. ``StepCompleted``, ``StepFailed`` and
        ``StepCancelled`` are accepted once per (run, command), by whatever method they come; ``QuestionAnswered`` only while
        the question is open and no answer to it is unread. ``update`` is written in the same transaction; for an update id
        that exists nothing is written.

        Raises:
            RunNotFoundError: no run has the id, or the run id is not one of the workflow id's.
            RunClosedError: the addressed run has ended; names its status, also in ``data["status"]``.
            QuestionNotFoundError: another answer was faster, or the question is not open any more.
        """
        ...

    # -- steps on other workers ---------------------------------------------------------------------------

    async def claim_tasks(
        self, worker_id: str, queues: Sequence[str], steps: Sequence[str], limit: int, now_us: int
    ) -> list[TaskRow]:
        """Take up to ``limit`` available tasks of these queues whose step is known, those available for
        longest first; owner set, epoch raised."""
        ...

    async def next_task_at(self, queues: Sequence[str], steps: Sequence[str]) -> int | None:
        """When the next unowned task of these becomes available; None if there is none. Reads only."""
        ...

    async def begin_task(self, task: TaskRow, attempt: AttemptRow) -> bool:
        """Record that an attempt of a held task begins. False, and nothing written, if owner or epoch changed
        or the task is gone."""
        ...

    async def finish_task(self, task: TaskRow, row: InboxRow, attempts: Sequence[AttemptRow] = ()) -> bool:
        """Remove the task and deliver its outcome to the run. False, and nothing written, if owner or epoch
        changed or the task is gone. False, and only the task removed, if the run takes no outcome of the step
        any more."""
        ...

    async def postpone_task(self, task: TaskRow, attempt: AttemptRow | None) -> bool:
        """Give the task back with its new ``attempt``, ``available_at_us`` and ``losses``, recording the
        failed attempt. False, and nothing written, if owner or epoch changed or the task is gone."""
        ...

    async def cancelled_tasks(self, worker_id: str) -> list[tuple[str, int]]:
        """(run id, command) of the tasks that this worker holds and that nobody wants any more."""
        ...

    async def heartbeat(self, run_id: str, command: int, payload: str | None, now_us: int) -> bool:
        """Keep the newest heartbeat of a running step. Not synced to disk by itself. False, and nothing kept,
        if the step is no longer wanted: its task is cancelled, its outcome accepted, or its run ended."""
        ...

    async def read_heartbeat(self, run_id: str, command: int) -> tuple[int, str | None] | None:
        """Time and details of a step's newest heartbeat."""
        ...

    # -- reading ------------------------------------------------------------------------------------------

    async def get_run(self, workflow_id: str) -> RunRow | None:
        """The current run of a workflow id."""
        ...

    async def get_run_by_id(self, run_id: str) -> RunRow | None:
        """The run with this run id."""
        ...

    async def successor(self, run_id: str) -> RunRow | None:
        """The next run of the same workflow id that continues or retries this one, if any: it has the same
        ``first_run_id``."""
        ...

    async def read_history(self, run_id: str, after_seq: int = 0, limit: int | None = None) -> list[Event]:
        """Events in order."""
        ...

    async def read_histories(self, run_ids: Sequence[str]) -> list[list[Event]]:
        """The histories of several runs at one moment, in the order of the ids; an empty one for an unknown run."""
        ...

    async def read_blobs(self, run_id: str) -> dict[str, bytes]:
        """Every blob that payloads of the run's history refer to, by hash."""
        ...

    async def read_inbox(self, run_id: str) -> list[InboxRow]:
        """What waits to be applied to the run: its start, then the rest in order of arrival, including what was
        addressed to its workflow id."""
        ...

    async def read_attempts(self, run_id: str, command: int | None = None) -> list[AttemptRow]:
        """Kept attempts in order; of one step, or of all by command."""
        ...

    async def read_tasks(self, run_id: str) -> list[TaskRow]:
        """Open tasks of the run, by command."""
        ...

    async def list_runs(
        self, where: RunFilter, limit: int, cursor: str | None = None
    ) -> tuple[list[RunRow], str | None]:
        """A page of runs, newest first, and the cursor of the next page, None at the end. Runs made meanwhile
        do not shift it. In a database the cost does not grow with the number of pages before.

        Raises:
            CallerError: the cursor is not one of ours.
        """
        ...

    async def count_runs(self, where: RunFilter) -> int:
        """How many runs match."""
        ...

    async def children(self, run_id: str) -> list[RunRow]:
        """Runs whose parent is this one, in order of creation."""
        ...

    async def questions(self, workflow_id: str | None = None) -> list[QuestionRow]:
        """Open questions, of one workflow id or of all, oldest first."""
        ...

    async def get_update(self, workflow_id: str, update_id: str) -> UpdateRow | None:
        """An update by its id."""
        ...

    async def read_attributes(self, run_id: str) -> dict[str, Any]:
        """Searchable attributes."""
        ...

    async def read_published(self, run_id: str) -> dict[str, str]:
        """Published values, as envelopes by key."""
        ...

    async def read_stream(self, run_id: str, name: str, start: int, limit: int) -> list[StreamItem]:
        """Up to ``limit`` items of a stream from position ``start`` on."""
        ...

    async def read_logs(self, run_id: str, limit: int) -> list[LogRow]:
        """The newest ``limit`` log lines, oldest first."""
        ...

    # -- queries and definitions --------------------------------------------------------------------------

    async def ask(self, query: QueryRow) -> None:
        """Post a query. Need not survive power loss."""
        ...

    async def pending_queries(self, workflows: Sequence[str], now_us: int) -> list[QueryRow]:
        """Queries of these workflows that nobody has answered, oldest first. Those that expire at ``now_us``
        or before, answered or not, are removed."""
        ...

    async def reply(self, query_id: str, state: str, reply: str | None) -> None:
        """Answer a query; the first answer stands, and one to an unknown query goes nowhere. Need not survive
        power loss."""
        ...

    async def get_query(self, query_id: str) -> QueryRow | None:
        """A query by id."""
        ...

    async def publish_definitions(self, definitions: Mapping[str, str]) -> None:
        """Keep the JSON texts that describe workflows (input and message schemas) by workflow name."""
        ...

    async def read_definition(self, workflow: str) -> str | None:
        """What was published for a workflow."""
        ...

    async def write_logs(self, rows: Sequence[LogRow]) -> None:
        """Keep log lines; bounded per run. Need not survive power loss."""
        ...

    # -- keeping house ------------------------------------------------------------------------------------

    async def purge(self, closed_before_us: int, limit: int) -> int:
        """Delete up to ``limit`` runs that closed before this time, oldest first, with all that belongs to
        them and blobs that no history refers to any more; with the last run of a workflow id its updates and
        message ids. A run whose rollback is running or failed is kept, and so is a child of an open run.
        Returns how many runs were deleted; call again until 0."""
        ...

    async def backup(self, target: Path) -> None:
        """Write a consistent copy that can be opened as a store, while others go on writing.

        Raises:
            StoreError: the target exists or cannot be written, or the store lives in memory.
        """
        ...


class Transaction(Protocol):
    """One database transaction in which a step works (rule D4)."""

    @property
    def connection(self) -> Any:
        """The connection inside the transaction, of the store's own driver: for SQLite a
        ``sqlite3.Connection``. It may be used on any one thread at a time. Ending the transaction and
        writing the store's own tables is refused."""
        ...

    def complete(self, row: InboxRow, blobs: Mapping[str, bytes] | None = None) -> None:
        """Have the step's outcome written in the same transaction when the context ends. ``row`` names the
        run, and its fact the command."""
        ...


class TransactionalStore(Protocol):
    """A store in whose database steps can write together with their completion. Not every store is one."""

    def transaction(
        self, run_id: str, epoch: int, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that commits when its context ends, if ``complete`` was called, and is rolled back
        otherwise: the step's writes and its outcome become durable together, once per (run, command).

        Inside it (in the same task, its child tasks and their threads) other calls of the store raise
        ``StoreError``: they would wait for the transaction that waits for them.

        Args:
            run_id: whose step it is.
            epoch: the owner's epoch.
            timeout: seconds from the beginning of the transaction, after which it is interrupted and rolled
                back.

        Raises:
            ConflictError: at the end: the run was closed or changed its owner, or the step has its outcome
                already. Nothing was written.
            StepTimeoutError: the time was up. Nothing was written.
            StoreUnavailableError: as everywhere.
        """
        ...
