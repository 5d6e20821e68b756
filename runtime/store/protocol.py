"""The store: one protocol, every method one transaction that says what it guarantees.

Every store passes the suite in ``tests/conformance``. The rules are H, S and D of docs/architecture.md. What a method has acknowledged
survives power loss, unless its text says otherwise. Every method may raise ``StoreUnavailableError``: nothing was written, and trying
again later is right. Methods are called on the event loop's thread; callbacks and listeners run there.

Words: a run is *open* until its status is final; the *current* run of a workflow id is the open one, else the newest.
A run *wants a worker* while ``ready_at_us <= now``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from durable.errors import ConflictError, StoreUnavailableError
from durable.history import Event
from runtime.store.row import (
    AttemptRow,
    Change,
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
    Turn,
    UpdateRow,
    WorkerRow,
)

CommitOutcome = None | ConflictError | StoreUnavailableError
"""What became of a turn: None when it is durable."""


class Lease(Protocol):
    """A worker's sign of life, renewed by a thread of its own (rule D3)."""

    def is_fresh(self) -> bool:
        """Whether this worker may still start effects. Local, cheap, on the boot clock: no I/O."""
        ...

    def loop_alive(self) -> None:
        """Tell the heart that the event loop turns; a loop silent beyond the watchdog's limit stops the heart."""
        ...

    async def end(self) -> None:
        """Stop and remove the sign of life; idempotent. Runs still owned are given back as if released, without a loss."""
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
        """Call ``listener`` after commits, own ones at once, those of other processes soon. Returns the way to stop."""
        ...

    # -- workers ------------------------------------------------------------------------------------------

    async def join(self, worker: WorkerRow, lease_seconds: float) -> Lease:
        """Register a worker and begin its sign of life."""
        ...

    async def workers(self) -> list[WorkerRow]:
        """The workers that are alive."""
        ...

    async def take_over(self, now_us: int) -> int:
        """Free the runs and tasks of workers that are dead or past their lease: owner cleared, epoch raised, ready now, ``lost`` set on runs and
        ``losses`` raised on tasks. Returns how many were freed. Safe to call at any time by any worker."""
        ...

    async def claim(
        self, worker_id: str, workflows: Sequence[str], queues: Sequence[str], limit: int, now_us: int
    ) -> list[Claimed]:
        """Take up to ``limit`` runs that want a worker: those without an owner whose workflow and queue are given (epoch raised, owner set), and
        those that ``worker_id`` owns already (epoch unchanged). Their ``ready_at_us`` is cleared. Oldest first. Paused and stuck runs are
        returned only when something that wakes them arrived."""
        ...

    async def next_ready_at(self, worker_id: str, workflows: Sequence[str], queues: Sequence[str]) -> int | None:
        """When the next run will want this worker; None if none will by itself. Reads only."""
        ...

    async def unstick(self, workflow: str, code: str, now_us: int) -> int:
        """Make ready every stuck run of ``workflow`` that is stuck on other code than ``code`` (rule L9). Returns how many."""
        ...

    def commit(self, turns: Sequence[Turn], done: Callable[[Sequence[CommitOutcome]], None]) -> None:
        """Write turns: each all or nothing, many in one database transaction; the conflict of one does not fail the others (rule D1).

        ``done`` gets one outcome a turn, in order, on the event loop's thread, possibly before this returns. A turn conflicts if the run's
        ``seq`` or ``epoch`` is not the expected one. Commits are applied in the order of the calls. With the outcomes the caller has:
        events appended; blobs stored once by hash; inbox rows consumed and delivered, each target made ready; children, successors, tasks,
        questions, updates, attributes, published values, stream items and logs written; the row changed.
        """
        ...

    # -- starting and sending -----------------------------------------------------------------------------

    async def start(self, new: NewRun, update: UpdateRow | None = None) -> StartOutcome:
        """Create a run with its first inbox rows, or find the one that has the id (``NewRun.on_conflict``). Concurrent starts of one id make one
        run. ``new.messages`` are delivered to the run that results, once per message id, whether or not it was created here.

        Raises:
            RunExistsError: as ``on_conflict`` says.
        """
        ...

    async def send(self, row: InboxRow, update: UpdateRow | None = None) -> RunRow:
        """Deliver a fact to a run, once per message id (a repeated one is acknowledged again and changes nothing), and make the run ready. Paused
        runs are woken only by ``RunResumed``, ``CancelRequested`` and nothing else; stuck ones only by ``RunResumed``.
        ``RollbackRequested`` may be sent to a closed run whose rollback failed, ``RunResumed`` and all others only to open ones. ``StepCompleted``,
        ``StepFailed`` and ``StepCancelled`` from outside are accepted once per (run, command). ``update`` is written in the same transaction; for an update id
        that exists nothing is written.

        Raises:
            RunNotFoundError: no run has the id.
            RunClosedError: the addressed run has ended; names its status.
        """
        ...

    # -- steps on other workers ---------------------------------------------------------------------------

    async def claim_tasks(
        self, worker_id: str, queues: Sequence[str], steps: Sequence[str], limit: int, now_us: int
    ) -> list[TaskRow]:
        """Take up to ``limit`` available tasks of these queues whose step is known, oldest first; owner set, epoch raised."""
        ...

    async def next_task_at(self, queues: Sequence[str], steps: Sequence[str]) -> int | None:
        """When the next unowned task of these becomes available; None if there is none. Reads only."""
        ...

    async def finish_task(self, task: TaskRow, row: InboxRow, attempts: Sequence[AttemptRow] = ()) -> bool:
        """Remove the task and deliver its outcome to the run. False, and nothing written, if owner or epoch changed or the task is gone."""
        ...

    async def postpone_task(self, task: TaskRow, attempt: AttemptRow | None) -> bool:
        """Give the task back with its new ``attempt`` and ``available_at_us``, recording the failed attempt. False as in ``finish_task``."""
        ...

    async def cancelled_tasks(self, worker_id: str) -> list[tuple[str, int]]:
        """(run id, command) of the tasks that this worker holds and that nobody wants any more."""
        ...

    async def heartbeat(self, run_id: str, command: int, payload: str | None, now_us: int) -> bool:
        """Keep the newest heartbeat of a running step. Not synced to disk by itself. False if the step is no longer wanted."""
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
        """The next run of the same workflow id that continues or retries this one, if any."""
        ...

    async def read_history(self, run_id: str, after_seq: int = 0, limit: int | None = None) -> list[Event]:
        """Events in order."""
        ...

    async def read_blobs(self, run_id: str) -> dict[str, bytes]:
        """Every blob that the run's history refers to, by hash."""
        ...

    async def read_inbox(self, run_id: str) -> list[InboxRow]:
        """What waits to be applied to the run, in order of arrival, including what was addressed to its workflow id."""
        ...

    async def read_attempts(self, run_id: str, command: int | None = None) -> list[AttemptRow]:
        """Kept attempts in order; of one step or of all."""
        ...

    async def read_tasks(self, run_id: str) -> list[TaskRow]:
        """Open tasks of the run."""
        ...

    async def list_runs(
        self, where: RunFilter, limit: int, cursor: str | None = None
    ) -> tuple[list[RunRow], str | None]:
        """A page of runs, newest first, and the cursor of the next page, None at the end. The cost does not grow with the number of pages before.

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
        """Items of a stream from ``start`` on."""
        ...

    async def read_logs(self, run_id: str, limit: int) -> list[LogRow]:
        """The newest ``limit`` log lines, oldest first."""
        ...

    # -- queries and definitions --------------------------------------------------------------------------

    async def ask(self, query: QueryRow) -> None:
        """Post a query. Need not survive power loss."""
        ...

    async def pending_queries(self, workflows: Sequence[str], now_us: int) -> list[QueryRow]:
        """Queries of these workflows that nobody has answered and that have not expired; expired ones are removed."""
        ...

    async def reply(self, query_id: str, state: str, reply: str | None) -> None:
        """Answer a query; the first answer stands. Need not survive power loss."""
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
        """Delete closed runs, with all that belongs to them and blobs that nothing refers to any more. A run whose rollback is running or failed is
        kept, and so is a child of an open run. Returns how many runs were deleted; call again until 0."""
        ...

    async def backup(self, target: Path) -> None:
        """Write a consistent copy that can be opened as a store, while others go on writing.

        Raises:
            StoreError: the target exists or cannot be written.
        """
        ...
