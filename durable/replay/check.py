"""The replay of one run in strict mode, batch by batch, and the words for what stops it.

Replay itself is the kernel's, the same that a worker does (``durable.kernel.replayer``). It is run as a worker runs it, where an input that
differs is a warning, so that one replay tells both: what strict replay objects to first, and what would make the run
stuck.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from durable.codec import INLINE, Envelope, PayloadCodec
from durable.errors import (
    BlockedLoopError,
    DecodeError,
    DeterminismError,
    DurableError,
    HistoryCorruptedError,
    MissingCodeError,
    NondeterminismError,
    OperatorError,
    WorkflowAbortError,
)
from durable.history import Event, EventKind, split_batches, verify_chain
from durable.info import RunIdentity
from durable.interceptor import Interceptor
from durable.kernel.issuing import InputDifference
from durable.kernel.line import definition_line, raised_line
from durable.kernel.matcher import RAISES, describe
from durable.kernel.replayer import Replayer
from durable.registry import Registry
from durable.replay.disclosure import DISCLOSED
from durable.replay.drift import Drift
from durable.replay.recording import Recording
from durable.replay.report import Breakage, BreakageKind, Misfit, ReplayReport

if TYPE_CHECKING:
    from durable.workflow import WorkflowDefinition

Caller = Callable[..., Any]
"""Calls a function with arguments: a watchdog's ``run`` without its label."""

_INPUT_REMEDY: Final = (
    "if the change is meant, deploy it: a worker goes on and warns, and --allow-input-changes accepts it here; else keep the old "
    'input behind ctx.patched("...")'
)
_MISFIT_REMEDY: Final = (
    "give a new field a default, keep the old name or type readable (a validator with mode='before'), or keep the old code "
    "until these runs have ended"
)
_MISSING_REMEDY: Final = "add the module that has it to the targets, or keep the old code until these runs have ended"
_UNREADABLE_REMEDY: Final = "give the codecs of the workers that wrote it: --codecs MODULE:NAME"
_ABORT_REMEDY: Final = "move what raises it into a step, or catch it where it is raised"

_KINDS: Final[tuple[tuple[type[BaseException], BreakageKind, str], ...]] = (
    (MissingCodeError, BreakageKind.MISSING_CODE, _MISSING_REMEDY),
    (BlockedLoopError, BreakageKind.BLOCKED, "move the work into a step: await ctx.step(...)"),
    (WorkflowAbortError, BreakageKind.ABORTED, _ABORT_REMEDY),
    (DecodeError, BreakageKind.MISFIT, _MISFIT_REMEDY),
    (OperatorError, BreakageKind.UNREADABLE, _UNREADABLE_REMEDY),
    (HistoryCorruptedError, BreakageKind.UNREADABLE, "restore the store from a backup; `durable history ID --verify` tells more"),
    (DeterminismError, BreakageKind.FORBIDDEN, "move it into a step"),
)  # fmt: skip
"""The first class that fits decides; ``NondeterminismError`` brings its own words."""


def replay_history(
    events: Sequence[Event],
    workflow: WorkflowDefinition[..., Any],
    *,
    blobs: Mapping[str, bytes] | None = None,
    identity: RunIdentity | None = None,
    registry: Registry | None = None,
    codecs: Sequence[PayloadCodec] = (),
    interceptors: Sequence[Interceptor] = (),
    strict: bool = True,
    verify: bool = False,
) -> ReplayReport:
    """Replay a history against a workflow and say where the two part. No step is run and nothing is written.

    Args:
        events: from the first one on.
        workflow: the code as it is now.
        blobs: payloads that are stored apart, by their SHA-256.
        identity: the names of the run; give it where the code looks at ``ctx.info``.
        registry: where carried-over compensations and recorded exception classes are found; the workflow's own module by default.
        codecs: the payload codecs of who wrote it.
        interceptors: around the workflow function, as the worker has them.
        strict: an input that differs from the recorded one counts as a breakage.
        verify: check the hash chain first.

    Returns:
        A report; ``report.divergence`` is the first place where they part, with both sides named. It never raises for what it finds.
    """
    names = identity or RunIdentity("replay", "replay", workflow.name, "replay", "replay")
    known = registry if registry is not None else Registry([workflow])
    recording = Recording(names, events, blobs or {})
    check = Check(recording, known, workflow, codecs=codecs, interceptors=interceptors, strict=strict, verify=verify)
    return check.run()


def replay_recording(
    recording: Recording,
    registry: Registry,
    *,
    codecs: Sequence[PayloadCodec] = (),
    interceptors: Sequence[Interceptor] = (),
    strict: bool = True,
    verify: bool = False,
    call: Caller | None = None,
) -> ReplayReport:
    """Replay a recording against the workflow of its name; a workflow that is not there is a breakage of its own kind.

    Args:
        registry: the code.
        codecs, interceptors, strict, verify: as of ``replay_history``.
        call: calls the replay of each batch, as a watchdog's ``run`` does.
    """
    identity = recording.identity
    try:
        workflow = registry.workflow(identity.workflow)
    except MissingCodeError as error:
        first = recording.events[0].seq if recording.events else 0
        missing = _breakage(error, first, f"a run of workflow {identity.workflow!r}", "")
        return ReplayReport(
            identity.workflow, identity.workflow_id, identity.run_id, len(recording.events), missing, strict=strict
        )
    check = Check(recording, registry, workflow, codecs=codecs, interceptors=interceptors, strict=strict, verify=verify)
    return check.run(call)


def make_replayer(
    recording: Recording,
    registry: Registry,
    workflow: WorkflowDefinition[..., Any],
    codecs: Sequence[PayloadCodec] = (),
    interceptors: Sequence[Interceptor] = (),
) -> Replayer:
    """A replayer at the beginning of a recorded run."""
    numbers = itertools.count(1)
    chosen = (*codecs, DISCLOSED) if recording.is_disclosed and not any(c.encrypts for c in codecs) else codecs
    return Replayer(
        workflow,
        recording.identity,
        registry=registry,
        ids=lambda: f"replayed-{next(numbers)}",
        envelope=Envelope(chosen, blob_threshold_bytes=INLINE),
        interceptors=interceptors,
    )


class Check:
    """The replay of one recording."""

    def __init__(
        self,
        recording: Recording,
        registry: Registry,
        workflow: WorkflowDefinition[..., Any],
        *,
        codecs: Sequence[PayloadCodec] = (),
        interceptors: Sequence[Interceptor] = (),
        strict: bool = True,
        verify: bool = False,
    ) -> None:
        self._recording = recording
        self._replayer = make_replayer(recording, registry, workflow, codecs, interceptors)
        self._drift = Drift(self._replayer, recording.blobs)
        self._differences: list[Breakage] = []
        self._strict = strict
        self._verify = verify

    def run(self, call: Caller | None = None) -> ReplayReport:
        """Replay, and say what was found."""
        recording, replayer = self._recording, self._replayer
        try:
            stop = self._replay(call)
            if stop is None:
                self._drift.look_at_unread(recording.unread)
        finally:
            replayer.evict()
        identity = recording.identity
        return ReplayReport(
            identity.workflow, identity.workflow_id, identity.run_id, len(recording.events), stop,
            tuple(self._differences), tuple(self._drift.misfits), self._strict,
        )  # fmt: skip

    def _replay(self, call: Caller | None) -> Breakage | None:
        events, blobs, replayer, drift = self._recording.events, self._recording.blobs, self._replayer, self._drift
        load, differences = replayer.load, replayer.issuer.differences
        if self._verify:
            try:
                verify_chain(events)
            except HistoryCorruptedError as error:
                return _breakage(error, 0, "", "")
        for batch in split_batches(events):
            known = len(differences)
            try:
                drift.look(batch)
                if call is None:
                    load(batch, blobs)
                else:
                    call(load, batch, blobs)
            except (Exception, DeterminismError) as error:  # noqa: BLE001 - rule L9: whatever stops the kernel
                self._take_differences(differences[known:])
                drift.look_at_refusals(batch)
                stop = self._explain(error, batch)
                drift.look_by_name([event for event in events if event.seq > batch[-1].seq], events)
                return stop
            if len(differences) > known:
                self._take_differences(differences[known:])
        return None

    # -- words --------------------------------------------------------------------------------------------

    def _explain(self, error: BaseException, batch: Sequence[Event]) -> Breakage:
        found = explain(error, batch, self._replayer.definition)
        raised = self._replayer.failure_text
        if raised is not None and found.requested == RAISES:
            cause = f"workflow code raised {raised}"
            found = replace(found, cause=cause, message=_retold(found.message, cause, found.remedy))
        misfits = [misfit for misfit in self._drift.misfits if misfit.event <= found.event]
        if misfits and found.kind in (BreakageKind.DIVERGENCE, BreakageKind.MISFIT):
            return _because_of(found, misfits[-1])
        return found

    def _take_differences(self, differences: Sequence[InputDifference]) -> None:
        for difference in differences:
            self._drift.look_at_difference(difference.record)
            self._differences.append(self._difference(difference))

    def _difference(self, difference: InputDifference) -> Breakage:
        record, error = difference.record, difference.error
        change = self._change(difference)
        cause = error.data["cause"] if change is None else f"the input differs from the recorded one: {change}"
        return Breakage(
            kind=BreakageKind.INPUT,
            event=record.seq,
            recorded=error.data["recorded"],
            requested=error.data["requested"],
            where=error.data["where"],
            cause=cause,
            remedy=_INPUT_REMEDY,
            message=_retold(error.message, cause, _INPUT_REMEDY),
        )

    def _change(self, difference: InputDifference) -> str | None:
        """What has changed, with the path in the value; the values themselves only where they are not encrypted."""
        envelope, record = self._replayer.payloads.envelope, difference.record
        try:
            before = from_json(envelope.open(record.payload or '{"v":1,"data":null}', self._recording.blobs))
            now = from_json(envelope.open(difference.payload or '{"v":1,"data":null}', envelope.blobs))
        except (DurableError, ValueError):
            return None
        from durable.replay.change import first_change

        hide = envelope.encrypts or (record.payload is not None and envelope.hides(record.payload))
        return first_change(before, now, hide=hide)


def explain(error: BaseException, batch: Sequence[Event], workflow: WorkflowDefinition[..., Any]) -> Breakage:
    """The breakage that an exception out of the replay of a batch amounts to."""
    first = next((event for event in batch if event.kind != EventKind.RUN_STARTED), batch[0])
    recorded = describe(first.kind, first.name, first.details)
    return _breakage(error, batch[0].seq, recorded, definition_line(workflow.fn).strip().removeprefix("at "))


def _breakage(error: BaseException, event: int, recorded: str, where: str) -> Breakage:
    """The breakage that an exception out of replay amounts to."""
    message = str(getattr(error, "message", error))
    data: dict[str, Any] = getattr(error, "data", {})
    code = str(getattr(error, "code", ""))
    if isinstance(error, NondeterminismError):
        return Breakage(
            kind=BreakageKind.DIVERGENCE,
            event=int(data.get("event", event)),
            recorded=str(data.get("recorded", recorded)),
            requested=str(data.get("requested", "")),
            where=str(data.get("where") or where),
            cause=str(data.get("cause", "")),
            remedy=str(data.get("remedy", "")),
            message=message,
            code=code,
        )
    kind, remedy = next(
        ((kind, remedy) for cls, kind, remedy in _KINDS if isinstance(error, cls)), (BreakageKind.ERROR, "")
    )
    raised = raised_line(error.__cause__ or error).strip().removeprefix("at ")
    if kind is BreakageKind.ERROR:
        message = f"{type(error).__name__}: {message}"
    return Breakage(
        kind=kind,
        event=event,
        recorded=recorded,
        requested=_REQUESTED.get(kind, "nothing: it stops here"),
        where=str(data.get("where") or raised or where),
        cause=message,
        remedy=str(data.get("remedy") or remedy),
        message=message,
        code=code,
    )


_REQUESTED: Final = {
    BreakageKind.MISSING_CODE: "code that is not there",
    BreakageKind.FORBIDDEN: "what only a step may do",
    BreakageKind.MISFIT: "a value of another type",
    BreakageKind.UNREADABLE: "a value that cannot be opened",
}


def _because_of(found: Breakage, misfit: Misfit) -> Breakage:
    """The same divergence, with the value that brought it about as its cause."""
    cause = (
        f"{misfit.subject} (event {misfit.event}) does not fit {misfit.type or 'its type'} any more: {misfit.problem}"
    )
    return replace(found, cause=cause, remedy=_MISFIT_REMEDY, message=_retold(found.message, cause, _MISFIT_REMEDY))


def _retold(message: str, cause: str, remedy: str) -> str:
    """The message of a mismatch with a cause and a remedy that are nearer to the point."""
    head = message.partition("\n  cause:")[0]
    return f"{head}\n  cause:     {cause}\n  remedy:    {remedy}"
