"""SQLite against the memory store: the same random operations must return the same and leave the same.

The memory store is the model. Every operation is built from the model's state, so it means the same to both; row
ids are the store's own business and are matched by position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from conformance.build import (
    SECOND,
    T0,
    attempt,
    commit,
    log,
    new_run,
    outcome,
    query,
    question,
    task,
    update,
)
from conformance.pair import Pair
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Fact, Recorder
from runtime.store.memory import MemoryStore
from runtime.store.protocol import Store
from runtime.store.row import AttemptOutcome, InboxRow, NewRun, RunFilter, RunRow, StreamItem, TaskRow
from runtime.store.sqlite import SqliteStore
from runtime.store.turn import RunChange, Turn

WORKFLOW_IDS = st.sampled_from(["a", "b", "c"])
WORKFLOWS = st.sampled_from(["order", "refund"])
QUEUES = st.sampled_from(["default", "gpu"])
WORKERS = st.sampled_from(["alive", "dead-1", "dead-2"])
MESSAGE_IDS = st.sampled_from([None, None, "m1", "m2", "m3"])
POLICIES = st.sampled_from(["terminate", "cancel", "abandon"])
COMMANDS = st.integers(1, 3)
DELAYS = st.integers(0, 3)
SENT = [
    EventKind.SIGNAL_RECEIVED,
    EventKind.UPDATE_ACCEPTED,
    EventKind.CANCEL_REQUESTED,
    EventKind.RUN_RESUMED,
    EventKind.ROLLBACK_REQUESTED,
]
OUTCOMES = [EventKind.STEP_COMPLETED, EventKind.STEP_FAILED, EventKind.STEP_CANCELLED]
FACTS = st.one_of(
    st.sampled_from(SENT).map(lambda kind: Fact(kind, name="message", actor="user:alice")),
    st.tuples(st.sampled_from([*OUTCOMES, EventKind.CHILD_COMPLETED]), COMMANDS).map(
        lambda drawn: Fact(*drawn, actor="worker")
    ),
)
OPEN = [RunStatus.RUNNING, RunStatus.WAITING, RunStatus.WAITING, RunStatus.PAUSED, RunStatus.STUCK]
CLOSED = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.TERMINATED, RunStatus.CONTINUED_AS_NEW]
BLOBS = {"h1": b"one", "h2": b"two"}


def few(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(elements, max_size=2)


class StoreComparison(RuleBasedStateMachine):
    """Drives both stores as clients, workers and operators would, and sometimes as none of them should."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.both = Pair(MemoryStore(), SqliteStore(Path(self.directory.name) / "durable.db"), "alive")
        self.now_us = T0
        self.run_ids: list[str] = []

    def teardown(self) -> None:
        self.both.close()
        self.directory.cleanup()

    # -- what operations are built from -------------------------------------------------------------------

    def tick(self) -> int:
        self.now_us += SECOND
        return self.now_us

    def unique_us(self, delay: int) -> int:
        """A time so many seconds from now that no task has yet: the order of claims is open among equals."""
        self.now_us += 1
        return self.now_us + delay * SECOND

    def new_run(self, workflow_id: str, **fields: Any) -> NewRun:
        run_id = f"run-{len(self.run_ids):03}"
        self.run_ids.append(run_id)
        delay = fields.pop("delay", 0)
        return new_run(
            workflow_id,
            run_id=run_id,
            created_at_us=self.now_us,
            ready_at_us=self.now_us + delay * SECOND,
            **fields,
        )

    def pick_run(self, data: st.DataObject) -> RunRow | None:
        rows, _ = self.both.ask_model(lambda store: store.list_runs(RunFilter(), 1000))
        if not rows:
            return None
        is_open = [row for row in rows if not row.status.is_closed]
        likely = is_open if is_open and data.draw(st.integers(0, 4)) else rows
        return data.draw(st.sampled_from(likely))

    def row(self, workflow_id: str, fact: Fact, message_id: str | None, run_id: str | None = None) -> InboxRow:
        return InboxRow(workflow_id, run_id, message_id, fact, self.now_us)

    # -- clients ------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        new = self.new_run("a")
        self.both.agree(lambda store: store.start(new))

    @rule(
        workflow_id=WORKFLOW_IDS,
        on_conflict=st.sampled_from(["attach", "fail", "replace"]),
        workflow=WORKFLOWS,
        queue=QUEUES,
        delay=DELAYS,
        owner=st.sampled_from([None, None, "alive", "dead-1"]),
        messages=few(st.tuples(FACTS, MESSAGE_IDS)),
        has_update=st.booleans(),
    )
    def start(self, workflow_id, messages, has_update, **fields):
        self.tick()
        rows = [self.row(workflow_id, fact, message_id) for fact, message_id in messages]
        new = self.new_run(workflow_id, messages=rows, **fields)
        sent = update(workflow_id) if has_update else None
        self.both.agree(lambda store: store.start(new, sent))

    @rule(data=st.data(), fact=FACTS, message_id=MESSAGE_IDS, is_pinned=st.booleans(), has_update=st.booleans())
    def send(self, data, fact, message_id, is_pinned, has_update):
        self.tick()
        run = self.pick_run(data)
        if run is None:
            return
        row = self.row(run.workflow_id, fact, message_id, run.run_id if is_pinned else None)
        sent = update(run.workflow_id, data.draw(st.sampled_from(["u1", "u2"]))) if has_update else None
        self.both.agree(lambda store: store.send(row, sent))

    @rule(
        workflow_id=st.sampled_from(["a", "b", "c", "nobody"]),
        run_id=st.sampled_from([None, "run-000", "run-001"]),
    )
    def send_astray(self, workflow_id, run_id):
        row = self.row(workflow_id, Fact(EventKind.SIGNAL_RECEIVED, name="message"), None, run_id)
        self.both.agree(lambda store: store.send(row))

    @rule(data=st.data(), expires=DELAYS)
    def ask_and_reply(self, data, expires):
        run = self.pick_run(data)
        if run is None:
            return
        asked = query(run, data.draw(st.sampled_from(["q1", "q2"])), self.tick() + expires * SECOND)
        if self.both.agree(lambda store: store.get_query(asked.query_id)) is None:
            self.both.agree(lambda store: store.ask(asked))
        self.both.agree(lambda store: store.reply("q1", "answered", f'"{self.now_us}"'))
        self.both.agree(lambda store: store.pending_queries([run.workflow], self.now_us))

    # -- workers ------------------------------------------------------------------------------------------

    @rule(worker_id=WORKERS, limit=st.sampled_from([1, 2, 100]), workflows=few(WORKFLOWS), queues=few(QUEUES))
    def claim(self, worker_id, limit, workflows, queues):
        now_us = self.tick()
        kinds = workflows or ["order", "refund"], queues or ["default", "gpu"]
        self.both.agree(lambda store: store.next_ready_at(worker_id, *kinds))
        self.both.agree(lambda store: store.claim(worker_id, *kinds, limit, now_us))

    @rule(data=st.data(), count=st.integers(1, 3))
    def commit(self, data, count):
        self.tick()
        turns: list[tuple[Turn, list[int]]] = []
        for _ in range(count):
            run = self.pick_run(data)
            if run is not None and all(turn.run_id != run.run_id for turn, _ in turns):
                turns.append(self.draw_turn(data, run))

        async def commit_to(store: Store) -> Any:
            ready = []
            for turn, positions in turns:
                inbox = await store.read_inbox(turn.run_id)
                consumed = [inbox[position].row_id for position in positions]
                ready.append(replace(turn, consumed=consumed))
            return await commit(store, *ready)

        self.both.agree(commit_to)

    def draw_turn(self, data: st.DataObject, run: RunRow) -> tuple[Turn, list[int]]:
        """A turn of this run without its consumed rows, and their positions in the inbox."""
        draw = data.draw
        history = self.both.ask_model(lambda store: store.read_history(run.run_id))
        inbox = self.both.agree(lambda store: store.read_inbox(run.run_id))
        has_epoch = draw(st.integers(0, 5)) > 0
        is_wrong = draw(st.integers(0, 9)) == 0
        fields: dict[str, Any] = {
            "expected_seq": run.seq + is_wrong,
            "epoch": run.epoch if has_epoch else None,
            "fence": not has_epoch,
            "events": self.draw_events(draw, history),
            "change": draw(st.none() | st.just(True)) and self.draw_change(draw, run),
            "blobs": BLOBS,
            "inbox": [self.draw_row(draw) for _ in range(draw(st.integers(0, 1)))],
            "outgoing": [(draw(COMMANDS), self.draw_row(draw)) for _ in range(draw(st.integers(0, 1)))],
            "tasks": [
                task(run, command, queue=draw(QUEUES), available_at_us=self.unique_us(draw(DELAYS)))
                for command in draw(st.sets(COMMANDS, max_size=2))
                if command not in {kept.command for kept in self.tasks_of(run)}
            ],
            "cancelled_tasks": draw(st.lists(COMMANDS, max_size=1)),
            "attempts": [
                attempt(run, draw(COMMANDS), result, draw(COMMANDS))
                for result in draw(few(st.sampled_from(AttemptOutcome)))
            ],
            "questions": [
                question(run, command, self.now_us + command) for command in draw(st.sets(COMMANDS, max_size=1))
            ],
            "closed_questions": draw(st.lists(COMMANDS, max_size=1)),
            "updates": [update(run.workflow_id, "u1", "completed", "1")] * draw(st.integers(0, 1)),
            "attributes": draw(st.dictionaries(st.sampled_from("xy"), st.sampled_from([None, 1, True, "s"]))),
            "published": draw(st.dictionaries(st.sampled_from("xy"), st.sampled_from(["1", "2"]))),
            "stream": [StreamItem("s", position, "1") for position in draw(st.sets(st.integers(0, 9), max_size=2))],
            "logs": [log(run, "hello")] * draw(st.integers(0, 1)),
        }
        change = fields["change"]
        if change and change.closed_at_us is not None:
            fields["close_children"] = sorted(draw(st.sets(COMMANDS)))
        fields["new_runs"] = self.draw_new_runs(draw, run, change)
        positions = sorted(draw(st.sets(st.integers(0, len(inbox) - 1)))) if inbox else []
        if draw(st.booleans()):
            positions = list(range(len(inbox)))
        return Turn(run.run_id, run.workflow_id, **fields), positions

    def tasks_of(self, run: RunRow) -> list[TaskRow]:
        return self.both.ask_model(lambda store: store.read_tasks(run.run_id))

    def draw_row(self, draw: Callable[..., Any]) -> InboxRow:
        workflow_id = draw(st.sampled_from(["a", "b", "c", "child", "nobody"]))
        return self.row(workflow_id, draw(FACTS), draw(MESSAGE_IDS))

    def draw_events(self, draw: Callable[..., Any], history: list[Any]) -> list[Any]:
        recorder = Recorder(history[-1] if history else None)
        recorder.begin_batch(self.now_us)
        payloads = st.sampled_from([None, '"v"', '{"v":1,"codec":"json","blob":"h1"}', '{"blob":"h2"}'])
        return [
            recorder.append(EventKind.STEP_COMPLETED, "worker", 1, "charge", None, payload)
            for payload in draw(few(payloads))
        ]

    def draw_change(self, draw: Callable[..., Any], run: RunRow) -> RunChange:
        ready_at_us = draw(st.none() | st.just(self.now_us + 2 * SECOND))
        is_released = draw(st.booleans())
        if run.status.is_closed:
            rollback = draw(st.sampled_from(RollbackStatus))
            return RunChange(run.status, rollback, ready_at_us=ready_at_us, release=is_released)
        if draw(st.integers(0, 2)):
            status = draw(st.sampled_from(OPEN))
            code = draw(st.sampled_from([None, "v1", "v2"])) if status is RunStatus.STUCK else None
            return RunChange(status, ready_at_us=ready_at_us, release=is_released, code=code, waiting_for="it")
        rollback = draw(
            st.sampled_from([RollbackStatus.NONE, RollbackStatus.NONE, RollbackStatus.RUNNING, RollbackStatus.FAILED])
        )
        return RunChange(
            draw(st.sampled_from(CLOSED)),
            rollback,
            release=True,
            closed_at_us=self.now_us,
            ready_at_us=ready_at_us,
        )

    def draw_new_runs(self, draw: Callable[..., Any], run: RunRow, change: RunChange | None) -> list[NewRun]:
        new_runs = [
            self.new_run(
                draw(st.sampled_from(["child", "a", "b"])),
                parent_run_id=run.run_id,
                parent_command=draw(COMMANDS),
                on_parent_close=draw(POLICIES),
                on_conflict=draw(st.sampled_from(["attach", "replace"])),
                owner=draw(st.sampled_from([None, run.owner])),
                delay=draw(DELAYS),
            )
            for _ in range(draw(st.integers(0, 1)))
        ]
        if run.status.is_closed or (change and change.status.is_closed and draw(st.booleans())):
            new_runs.append(
                self.new_run(
                    run.workflow_id,
                    first_run_id=draw(st.sampled_from([run.first_run_id, f"run-{len(self.run_ids):03}"])),
                    on_conflict=draw(st.sampled_from(["fail", "replace", "replace"])),
                    messages=[self.row(run.workflow_id, *draw(st.tuples(FACTS, MESSAGE_IDS)))],
                    parent_run_id=run.parent_run_id,
                    parent_command=run.parent_command,
                )
            )
        return new_runs

    @rule(worker_id=WORKERS, limit=st.sampled_from([1, 100]), queues=few(QUEUES))
    def claim_tasks(self, worker_id, limit, queues):
        now_us = self.tick()
        queues = queues or ["default", "gpu"]
        self.both.agree(lambda store: store.next_task_at(queues, ["charge"]))
        self.both.agree(lambda store: store.claim_tasks(worker_id, queues, ["charge"], limit, now_us))
        self.both.agree(lambda store: store.cancelled_tasks(worker_id))

    @rule(data=st.data(), kind=st.sampled_from(OUTCOMES), is_stale=st.integers(0, 4), is_finished=st.booleans())
    def end_task(self, data, kind, is_stale, is_finished):
        self.tick()
        rows, _ = self.both.ask_model(lambda store: store.list_runs(RunFilter(), 1000))
        tasks = [(run, kept) for run in rows for kept in self.tasks_of(run) if kept.owner is not None]
        if not tasks:
            return
        run, held = data.draw(st.sampled_from(tasks))
        if is_stale == 0:
            held = replace(held, epoch=held.epoch + 1)
        failure = attempt(run, held.attempt, command=held.command, ended_at_us=self.now_us)
        if is_finished:
            row = outcome(run, held.command, kind, at_us=self.now_us)
            self.both.agree(lambda store: store.finish_task(held, row, [failure]))
        else:
            again = replace(held, attempt=held.attempt + 1, available_at_us=self.unique_us(1))
            self.both.agree(lambda store: store.postpone_task(again, failure))

    @rule(data=st.data(), command=COMMANDS)
    def beat(self, data, command):
        run = self.pick_run(data)
        if run is not None:
            now_us = self.tick()
            self.both.agree(lambda store: store.heartbeat(run.run_id, command, f'"{now_us}"', now_us))
            self.both.agree(lambda store: store.read_heartbeat(run.run_id, command))

    @rule(worker_id=WORKERS, numbers=few(st.integers(0, 5)))
    def adopt(self, worker_id, numbers):
        self.both.agree(lambda store: store.adopt(worker_id, [f"run-{number:03}" for number in numbers]))

    # -- operators ----------------------------------------------------------------------------------------

    @rule()
    def take_over(self):
        now_us = self.tick()
        self.both.agree(lambda store: store.take_over(now_us))

    @rule(
        worker_id=WORKERS,
        workflow=WORKFLOWS,
        code=st.sampled_from(["v1", "v2"]),
        queue=QUEUES,
        limit=st.sampled_from([1, 100]),
    )
    def unstick(self, worker_id, workflow, code, queue, limit):
        now_us = self.tick()
        self.both.agree(lambda store: store.unstick(worker_id, {workflow: code}, [queue], limit, now_us))

    @rule(limit=st.sampled_from([1, 100]), age=st.sampled_from([0, 0, 5]))
    def purge(self, limit, age):
        before_us = self.tick() - age * SECOND
        self.both.agree(lambda store: store.purge(before_us, limit))

    # -- what is compared ---------------------------------------------------------------------------------

    @invariant()
    def runs_are_the_same(self):
        rows, _ = self.both.agree(lambda store: store.list_runs(RunFilter(), 1000))
        self.both.agree(lambda store: store.questions())
        for row in rows:
            assert isinstance(row, RunRow)

    @rule()
    def all_that_belongs_to_runs_is_the_same(self):
        for run_id in self.run_ids:
            self.compare_run(run_id)

    def compare_run(self, run_id: str) -> None:
        both = self.both
        both.agree(lambda store: store.get_run_by_id(run_id))
        both.agree(lambda store: store.successor(run_id))
        both.agree(lambda store: store.children(run_id))
        both.agree(lambda store: store.read_history(run_id))
        both.agree(lambda store: store.read_blobs(run_id))
        both.agree(lambda store: store.read_inbox(run_id))
        both.agree(lambda store: store.read_attempts(run_id))
        both.agree(lambda store: store.read_tasks(run_id))
        both.agree(lambda store: store.read_attributes(run_id))
        both.agree(lambda store: store.read_published(run_id))
        both.agree(lambda store: store.read_stream(run_id, "s", 0, 100))
        both.agree(lambda store: store.read_logs(run_id, 100))


TestStoreComparison = StoreComparison.TestCase
TestStoreComparison.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
