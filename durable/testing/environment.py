"""The harness: workflows under test, with virtual time and without a database.

It is the kernel of the worker with a fulfiller in memory. Whoever awaits a handle drives it: turns happen, steps run, and while
nothing else can happen time is skipped to the next timer, retry or limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, ParamSpec, Self, TypeVar, overload

from durable.codec import Envelope, PayloadCodec, input_digest
from durable.codec.envelope import INLINE
from durable.duration import Duration, instant_us, to_us
from durable.errors import DefinitionError, RunExistsError, RunNotFoundError
from durable.history import EventKind, Fact
from durable.info import RunIdentity
from durable.interceptor import Interceptor
from durable.messages import Signal
from durable.retry import RetryPolicy
from durable.testing.clock import VirtualClock
from durable.testing.fulfiller import Fulfiller
from durable.testing.handle import SimulatedHandle
from durable.testing.simulated import SimulatedRun
from durable.testing.stub import ABSENT, StepCall, Stub, Stubbable, definition_name
from durable.testing.token import HandedOverStep
from durable.testing.waiting import Waiting
from durable.workflow import WorkflowCall, WorkflowDefinition

P = ParamSpec("P")
R = TypeVar("R")

START_AT: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""When virtual time begins."""

observers: Final[list[Callable[[WorkflowEnvironment], object]]] = []
"""Told of every new environment: the pytest plugin shows their timelines and replays their runs."""


class WorkflowEnvironment:
    """Runs workflows in memory, in virtual time.

    Args:
        allow: steps that run for real: definitions, functions or names, or True for all. Others must be stubbed.
        start_at: the first instant of virtual time.
        seed: of everything random in the runs.
        frozen: time is never skipped; only ``advance`` moves it.
        codecs: of payloads.
        interceptors: around workflows and steps.
        default_retry: the retry policy of steps that have none, as of a runtime.

    Attributes:
        replay_every_turn: drop all memory after every turn and go on from history.
    """

    def __init__(
        self,
        *,
        allow: bool | Iterable[Stubbable] = False,
        start_at: datetime = START_AT,
        seed: int = 0,
        frozen: bool = False,
        codecs: Sequence[PayloadCodec] = (),
        interceptors: Sequence[Interceptor] = (),
        default_retry: RetryPolicy | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "start_at": start_at, "seed": seed, "codecs": codecs, "interceptors": interceptors, "default_retry": default_retry,
        }  # fmt: skip
        self._allows_all = allow is True
        self._allowed = set() if isinstance(allow, bool) else {definition_name(each) for each in allow}
        self._clock = VirtualClock(start_at)
        envelope = Envelope(codecs, blob_threshold_bytes=INLINE)
        self._host = Fulfiller(self._clock, envelope, seed, self._is_allowed, interceptors, default_retry)
        self._waiting = Waiting(self._host)
        self._waiting.is_frozen = frozen
        self._names: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        for observer in observers:
            observer(self)

    def copy(self) -> WorkflowEnvironment:
        """A new environment prepared like this one: options, stubs and allowed steps, and none of its runs; sequences begin anew."""
        made = type(self)(allow=self._allows_all or self._allowed, frozen=self.frozen, **self._options)
        made._host.stubs.update({name: stub.renewed() for name, stub in self._host.stubs.items()})
        made.replay_every_turn = self.replay_every_turn
        return made

    # -- life ---------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        tasks = self._cancel_steps()
        if tasks:
            await asyncio.wait(tasks)
        if kind is None:
            self.verify()

    def close(self) -> None:
        """Cancel the real steps that run, and replay every run; the same as leaving ``async with``.

        Raises:
            RunStuckError: as ``verify``.
        """
        __tracebackhide__ = True
        self._cancel_steps()
        self.verify()

    def _cancel_steps(self) -> list[asyncio.Task[None]]:
        tasks = list(self._host.steps.live)
        for task in tasks:
            if not task.get_loop().is_closed():
                task.cancel()
        return tasks

    def verify(self) -> None:
        """Replay every run of the environment strictly, here and in a process with another hash seed.

        Raises:
            RunStuckError: a run does not replay; the message names both sides.
        """
        from durable.testing.mirror import replay_elsewhere

        __tracebackhide__ = True
        for run in list(self._host.runs.values()):
            self._host.verify(run)
        self._waiting.check()
        replay_elsewhere(self._host)

    @property
    def replay_every_turn(self) -> bool:
        """Drop all memory after every turn and go on from history."""
        return self._host.replays_every_turn

    @replay_every_turn.setter
    def replay_every_turn(self, value: bool) -> None:
        self._host.replays_every_turn = value

    def crash(self) -> None:
        """Drop all memory, as a power cut would, and go on from history: attempts that run are lost, and begin again."""
        self._host.crash()

    # -- steps --------------------------------------------------------------------------------------------

    def allow(self, *steps: Stubbable) -> None:
        """Let these steps run for real."""
        self._allowed |= {definition_name(each) for each in steps}

    def allow_all(self) -> None:
        """Let every step run for real that is not stubbed."""
        self._allows_all = True

    def _is_allowed(self, name: str) -> bool:
        return self._allows_all or name in self._allowed

    @overload
    def stub(self, what: Stubbable, behaviour: Callable[..., Any], /, *, after: Duration = ...) -> Stub: ...
    @overload
    def stub(self, what: Stubbable, /, *, returns: Any = ..., after: Duration = ...) -> Stub: ...
    @overload
    def stub(
        self, what: Stubbable, /, *, raises: BaseException | type[BaseException], after: Duration = ...
    ) -> Stub: ...
    @overload
    def stub(self, what: Stubbable, /, *, sequence: Iterable[Any], after: Duration = ...) -> Stub: ...

    def stub(
        self,
        what: Stubbable,
        behaviour: Callable[..., Any] | None = None,
        /,
        *,
        returns: Any = ABSENT,
        raises: BaseException | type[BaseException] | None = None,
        sequence: Iterable[Any] | None = None,
        after: Duration = 0,
    ) -> Stub:
        """Put something in the place of a step or child workflow, until it is stubbed again.

        Args:
            what: the definition, the function, or the name.
            behaviour: a function of the arguments, async or not.
            returns: the result of every call; None by default.
            raises: the error of every call.
            sequence: a result or an error for each call in turn.
            after: virtual duration of a call.

        Raises:
            DefinitionError: several of them were given.
        """
        made = Stub(definition_name(what), behaviour, returns, raises, sequence, after)
        self._host.stubs[made.name] = made
        return made

    def calls(self, what: Stubbable | None = None) -> list[StepCall]:
        """The attempts of a step, or of all steps, in the order in which they began; starts of stubbed children too."""
        name = None if what is None else definition_name(what)
        return [call for call in self._host.calls if name in (None, call.name)]

    async def until_step(self, what: Stubbable, times: int = 1) -> StepCall:
        """Wait until a step has begun for the so many-th time.

        Raises:
            IdleError: it never begins.
        """
        name = definition_name(what)

        def look() -> StepCall | None:
            calls = self.calls(name)
            return calls[times - 1] if len(calls) >= times else None

        def instead() -> str:
            runs = [f"{run.workflow_id!r} {_where(run)}" for run in self._host.runs.values()]
            return f"call {times} of step {name!r}; {', '.join(runs) or 'nothing was started'}"

        return await self._waiting.until(look, instead)

    def step(self, token: str) -> HandedOverStep:
        """A step that was handed over (``CompleteLater``), by its token.

        Raises:
            RunNotFoundError: no such step waits.
        """
        for run in self._host.runs.values():
            for execution in run.steps.values():
                if execution.token == token and execution.is_handed_over:
                    return HandedOverStep(self._host, execution)
        raise RunNotFoundError(f"no step waits for somebody with the token {token!r}")

    # -- runs ---------------------------------------------------------------------------------------------

    @overload
    async def start(
        self, what: WorkflowDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> SimulatedHandle[R]: ...
    @overload
    async def start(
        self, what: WorkflowCall[R], /, *, with_signal: tuple[Signal[Any], Any] | None = ...
    ) -> SimulatedHandle[R]: ...

    async def start(self, what: Any, /, *args: Any, **kwargs: Any) -> SimulatedHandle[Any]:
        """Start a workflow; options as in ``deploy.options(id="d1", delay=60)``.

        Args:
            what: a workflow and its arguments, or a bound call, ``deploy.bind("v1")``.
            with_signal: of a bound call: a signal and its value, delivered with the start.

        Raises:
            EncodeError: an argument does not fit.
            RunExistsError: the id is taken by a run with another workflow or input, or ``on_conflict`` is ``fail``.
        """
        if isinstance(what, WorkflowCall):
            return await self._start_call(what, *args, **kwargs)
        self._check_loop()
        self._waiting.note_task()
        if not isinstance(what, WorkflowDefinition):
            raise DefinitionError(
                f"expected a workflow or a bound call, got {what!r}; decorate the function with @workflow"
            )
        plain, options = what.arguments.encode(args, kwargs), what.start_options
        workflow_id = options.id if options.id is not None else self._new_name(what.name)
        digest = input_digest(plain)
        known = self._host.relations.current.get(workflow_id)
        if known is not None:
            handle = await self._attach(known, what, digest)
            if handle is not None:
                return handle
        run_id = self._host.new_id()
        identity = RunIdentity(workflow_id, run_id, what.name, run_id, run_id)
        delay_us = to_us(options.delay, "delay") if options.delay is not None else 0
        run = SimulatedRun(what, identity, "user:test", digest, self._clock.now_us() + delay_us)
        payload = self._host.envelope.seal(plain, secret=what.arguments.has_secrets)
        self._host.relations.add(run, Fact(EventKind.RUN_STARTED, payload=payload, actor="user:test"))
        return SimulatedHandle(self._host, self._waiting, run)

    def _check_loop(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise DefinitionError(
                "workflows run on asyncio, and no asyncio loop is running here; for anyio's pytest plugin choose it "
                "by a fixture anyio_backend that returns 'asyncio'"
            ) from error
        if self._loop is not None and self._loop is not loop:
            raise DefinitionError(
                "this environment belongs to another event loop: make one for each, such as one for each test"
            )
        self._loop = loop

    async def _start_call(
        self, call: WorkflowCall[Any], *, with_signal: tuple[Signal[Any], Any] | None = None
    ) -> SimulatedHandle[Any]:
        handle = await self.start(call.definition, *call.args, **call.kwargs)
        if with_signal is not None:
            await handle.signal(*with_signal)
        return handle

    def _new_name(self, workflow: str) -> str:
        """A workflow id that no run of the environment has."""
        while True:
            self._names[workflow] = number = self._names.get(workflow, 0) + 1
            if (name := f"{workflow}-{number}") not in self._host.relations.current:
                return name

    async def _attach(
        self, known: SimulatedRun, what: WorkflowDefinition[..., Any], digest: str
    ) -> SimulatedHandle[Any] | None:
        """The run that has the id, if a start may attach to it; None if it was replaced."""
        policy = what.start_options.on_conflict or "attach"
        if policy == "replace":
            handle = SimulatedHandle[Any](self._host, self._waiting, known)
            if not known.newest.status.is_closed:
                await handle.terminate("replaced")
            return None
        if policy == "fail" or known.workflow != what.name or known.input_digest != digest:
            raise RunExistsError(f"the workflow id {known.workflow_id!r} is taken", workflow_id=known.workflow_id)
        return SimulatedHandle(self._host, self._waiting, known)

    async def execute(self, what: WorkflowDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a workflow and return its result."""
        return await (await self.start(what, *args, **kwargs)).result()

    @property
    def unchecked(self) -> dict[str, str]:
        """The workflows that could not be replayed in a process with another hash seed, and why."""
        return dict(self._host.unchecked)

    def get(self, workflow_id: str) -> SimulatedHandle[Any]:
        """The run that has this id now, such as a child's.

        Raises:
            RunNotFoundError: there is none.
        """
        run = self._host.relations.current.get(workflow_id)
        if run is None:
            known = ", ".join(sorted(self._host.relations.current)) or "none"
            raise RunNotFoundError(f"no run has the id {workflow_id!r} (known: {known})", workflow_id=workflow_id)
        return SimulatedHandle(self._host, self._waiting, run)

    @property
    def runs(self) -> list[SimulatedHandle[Any]]:
        """All runs, children and successors too, in the order of their start."""
        return [SimulatedHandle(self._host, self._waiting, run) for run in self._host.runs.values()]

    # -- time ---------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The instant of virtual time, UTC."""
        return self._clock.now()

    @property
    def frozen(self) -> bool:
        """Whether time is never skipped."""
        return self._waiting.is_frozen

    @frozen.setter
    def frozen(self, value: bool) -> None:
        self._waiting.is_frozen = value

    @asynccontextmanager
    async def freeze(self) -> AsyncIterator[None]:
        """Within this block time is not skipped."""
        before, self._waiting.is_frozen = self._waiting.is_frozen, True
        try:
            yield
        finally:
            self._waiting.is_frozen = before

    async def advance(self, by: Duration) -> None:
        """Let so much virtual time pass, seconds or timedelta; what is due on the way happens in order.

        A limit that it reaches ends a real step that runs; otherwise real steps are not waited for.

        Raises:
            ValueError: it is negative.
        """
        if to_us(by, "by") < 0:
            raise ValueError(f"expected a duration that is not negative, got {by!r}")
        await self._waiting.advance_to(self._clock.now_us() + to_us(by, "by"))

    async def advance_to(self, when: datetime) -> None:
        """Let virtual time pass until this instant.

        Raises:
            ValueError: it is in the past.
        """
        if instant_us(when) < self._clock.now_us():
            raise ValueError(f"expected an instant not before {self.now()}, got {when}")
        await self._waiting.advance_to(instant_us(when))

    async def until_idle(self) -> None:
        """Wait until nothing can happen without time or the test; no time passes."""
        await self._waiting.until_idle()


def _where(run: SimulatedRun) -> str:
    if run.status.is_closed or run.stuck is not None:
        return f"is {run.status}"
    return f"waits for {run.waiting_for or 'nothing'}"
