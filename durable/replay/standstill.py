"""Where the code of a run stands after an event: the frames of its coroutines, with their locals.

A run is replayed up to and with the batch that holds the event; then nothing of it moves any more, and each task waits somewhere.
The frames of a waiting coroutine are not on any stack: they are found by following what each one awaits. A traceback
is made of them, because that is what debuggers take.

If replay and history part before the event, the code stands where it asks for something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from durable.codec import PayloadCodec
from durable.codec.problem import short
from durable.errors import DeterminismError
from durable.history import split_batches
from durable.kernel.describe import waiting_for
from durable.replay.check import explain, make_replayer
from durable.replay.recording import Recording
from durable.replay.report import Breakage

if TYPE_CHECKING:
    import asyncio

    from durable.kernel.replayer import Replayer
    from durable.registry import Registry

_MACHINE: Final = ("durable", "asyncio", "anyio", "contextlib", "contextvars")
"""Packages whose frames say nothing about the workflow."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where one task of the run stands.

    Attributes:
        task: its name; the function's own task has that of the workflow.
        frames: of the user's code, the outermost first.
    """

    task: str
    frames: Sequence[FrameType]

    @property
    def where(self) -> str:
        """``file:line in function`` of the innermost frame."""
        frame = self.frames[-1]
        return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"

    def traceback(self) -> TracebackType | None:
        """The frames as a traceback, for a debugger."""
        found: TracebackType | None = None
        for frame in reversed(self.frames):
            found = TracebackType(found, frame, frame.f_lasti, frame.f_lineno)
        return found


@dataclass(slots=True)
class Standstill:
    """A run that was replayed up to an event and holds still. ``close`` it: its coroutines are alive.

    Attributes:
        event: the last event that was replayed; the one that could not be, if there is a breakage.
        stands: where its tasks stand, that of the function first; only those with code of the user's.
        waits_for: in words, or None.
        breakage: why replay ended before the event, or None.
    """

    event: int
    stands: list[Stand]
    waits_for: str | None
    breakage: Breakage | None
    _replayer: Replayer

    def close(self) -> None:
        """Drop the run from memory."""
        self._replayer.evict()


def stand_still(
    recording: Recording, registry: Registry, at: int | None = None, *, codecs: Sequence[PayloadCodec] = ()
) -> Standstill:
    """Replay a run up to an event, and let it stand there. What the code then asks for is refused.

    Args:
        at: number of an event; the whole batch that holds it is replayed. None: the last event after which the code still waits for
            something.
        codecs: the payload codecs of who wrote it.

    Raises:
        MissingCodeError: the workflow is not there.
    """
    found, last = _replay(recording, registry, at, codecs)
    if at is None and not found.stands and found.breakage is None and last:
        found.close()
        found, _ = _replay(recording, registry, last, codecs)
    return found


def _replay(
    recording: Recording, registry: Registry, at: int | None, codecs: Sequence[PayloadCodec]
) -> tuple[Standstill, int]:
    """The run at an event, and the last event up to there after which there was something to look at."""
    workflow = registry.workflow(recording.identity.workflow)
    replayer = make_replayer(recording, registry, workflow, codecs)
    event = last = 0
    for batch in split_batches(recording.events):
        if at is not None and event >= at:
            break
        try:
            replayer.load(batch, recording.blobs)
        except (Exception, DeterminismError) as error:  # noqa: BLE001 - rule L9: whatever stops the kernel
            breakage = explain(error, batch, workflow)
            stands = [*_raised(error, replayer), *_stands(replayer)]
            _hold(replayer)
            return Standstill(breakage.event, stands, None, breakage, replayer), last
        event = batch[-1].seq
        if replayer.root is not None and not replayer.root.done():
            last = event
    stands = list(_stands(replayer))
    _hold(replayer)
    return Standstill(event, stands, waiting_for(replayer), None, replayer), last


def _hold(run: Replayer) -> None:
    """Refuse everything that would move the run."""
    run.loop.read_only = "the debugger"
    run.issuer.refuse("the debugger")


def _stands(run: Replayer) -> Iterator[Stand]:
    for task in run.loop.pending_tasks():
        frames = list(_awaited(task))
        if frames:
            yield Stand(task.get_name(), frames)


def _awaited(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The user's frames of a task, the outermost first."""
    coroutine: Any = task.get_coro()
    while coroutine is not None:
        frame = _first(coroutine, "cr_frame", "ag_frame", "gi_frame")
        if isinstance(frame, FrameType) and _is_users(frame):
            yield frame
        coroutine = _first(coroutine, "cr_await", "ag_await", "gi_yieldfrom")


def _first(value: Any, *names: str) -> Any:
    return next((found for name in names if (found := getattr(value, name, None)) is not None), None)


def _raised(error: BaseException, run: Replayer) -> Iterator[Stand]:
    """Where the code was that asked for something else, or that raised."""
    own = run.root.exception() if run.root is not None and run.root.done() and not run.root.cancelled() else None
    left: list[BaseException | None] = [error, run.failure, own]
    seen: set[int] = set()
    while left:
        one = left.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, BaseExceptionGroup):  # what it holds is nearer to the cause than where the group was made
            left[:0] = [*one.exceptions, one.__context__]
            continue
        frames = [frame for frame, _ in walk_tb(one.__traceback__) if _is_users(frame)]
        if frames:
            yield Stand("the request", frames)
            return
        left[:0] = [one.__cause__, one.__context__]


def _is_users(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] not in _MACHINE


def frame_fields(frame: FrameType) -> dict[str, Any]:
    """A frame for programs: place and locals, each as a short text."""
    return {
        "file": frame.f_code.co_filename,
        "line": frame.f_lineno,
        "function": frame.f_code.co_qualname,
        "locals": {name: short(value) for name, value in frame.f_locals.items()},
    }
