"""Workflows: definitions and their options, and calls of them that are bound to arguments."""

from __future__ import annotations

import asyncio
import functools
import inspect
import unicodedata
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

from durable.codec import ArgumentsCodec, ValueCodec, result_codec
from durable.context import Context
from durable.duration import Duration, optional_us, to_us
from durable.errors import DefinitionError, DeterminismError
from durable.kernel import guard
from durable.kernel.line import asked_at
from durable.kernel.loop import KernelLoop
from durable.messages import AnyMessage, Message
from durable.retry import RetryPolicy
from durable.step import StepDefinition, compensation_step
from durable.text import check_name, check_text, defined_by

P = ParamSpec("P")
R = TypeVar("R")

OnUnfinished = Literal["wait", "abandon"]
OnParentClose = Literal["terminate", "cancel", "abandon"]
OnConflict = Literal["attach", "fail", "replace"]


@dataclass(frozen=True, slots=True)
class StartOptions:
    """How one run is started. ``WorkflowDefinition.options`` documents each field."""

    id: str | None = None
    on_conflict: OnConflict | None = None
    delay: Duration | None = None
    queue: str | None = None
    on_parent_close: OnParentClose = "terminate"
    compensate: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.id is not None and (not isinstance(self.id, str) or not self.id or _has_controls(self.id)):
            raise DefinitionError(f"expected id to be a non-empty text without control characters, got {self.id!r}")
        if self.on_conflict not in (None, "attach", "fail", "replace"):
            raise DefinitionError(f"expected on_conflict to be 'attach', 'fail' or 'replace', got {self.on_conflict!r}")
        if self.on_parent_close not in ("terminate", "cancel", "abandon"):
            raise DefinitionError(
                f"expected on_parent_close to be 'terminate', 'cancel' or 'abandon', got {self.on_parent_close!r}"
            )
        if self.delay is not None and to_us(self.delay, "delay") < 0:
            raise DefinitionError(f"expected delay not to be negative, got {self.delay!r}")


def _has_controls(text: str) -> bool:
    """Whether a text would steer the terminal that shows it, or is no Unicode."""
    return not text.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


class WorkflowDefinition(Generic[P, R]):
    """A workflow: an async function of a ``Context`` and more, its name and its options.

    Calling it outside workflows runs the function plainly, with whatever context the caller passes.
    """

    _durable_workflow_ = True

    def __init__(
        self,
        fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]],
        *,
        name: str | None = None,
        version: str | None = None,
        timeout: Duration | None = None,
        queue: str = "default",
        messages: Sequence[AnyMessage] = (),
        on_unfinished: OnUnfinished = "wait",
        default_retry: RetryPolicy | None = None,
    ) -> None:
        with defined_by(fn):
            self._define(fn, name, version, timeout, queue, messages, on_unfinished, default_retry)
        functools.update_wrapper(self, fn, updated=())
        guard.watch(fn, self.name)

    def _define(
        self,
        fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]],
        name: str | None,
        version: str | None,
        timeout: Duration | None,
        queue: str,
        messages: Sequence[AnyMessage],
        on_unfinished: OnUnfinished,
        default_retry: RetryPolicy | None,
    ) -> None:
        _check_function(fn)
        self.fn = fn
        self.__wrapped__ = fn
        self.name: str = name if name is not None else fn.__name__
        check_name(self.name, "the name of a workflow")
        check_name(queue, f"the queue of workflow {self.name!r}")
        if version is not None:
            check_text(version, f"the version of workflow {self.name!r}")
        if on_unfinished not in ("wait", "abandon"):
            raise DefinitionError(f"expected on_unfinished to be 'wait' or 'abandon', got {on_unfinished!r}")
        if default_retry is not None and not isinstance(default_retry, RetryPolicy):
            raise DefinitionError(f"expected default_retry to be a RetryPolicy, got {default_retry!r}")
        self.version = version
        self.timeout_us = optional_us(timeout, "timeout")
        self.queue = queue
        self.messages = _by_name(messages)
        self.on_unfinished = on_unfinished
        self.default_retry = default_retry
        self.arguments: ArgumentsCodec = ArgumentsCodec(fn, skip=1, owner=self.name)
        self.result: ValueCodec = result_codec(fn)
        self.start_options = StartOptions()
        self.compensation: StepDefinition[..., Any] | None = None

    def options(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the field's word for it
        on_conflict: OnConflict | None = None,
        delay: Duration | None = None,
        queue: str | None = None,
        on_parent_close: OnParentClose | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> WorkflowDefinition[P, R]:
        """This workflow with the options of one start; what is not given stays.

        Args:
            id: the workflow id; one is made up if absent.
            on_conflict: ``attach`` to the run that has the id (the default; for children ``fail``), ``fail``, or ``replace`` it.
            delay: begin so much later, seconds or timedelta.
            queue: workers of this queue run it.
            on_parent_close: what happens to this child when its parent ends: ``terminate``, ``cancel`` or ``abandon``. A child that
                was asked to cancel before (its await was cancelled) is left to end by itself.
            compensate: called with the child's result when the parent rolls back.

        Raises:
            DefinitionError: if a value is not allowed.
        """
        given = {key: value for key, value in locals().items() if key != "self" and value is not None}
        if id is not None and not id:
            raise DefinitionError("expected id to be a non-empty text, got ''")
        copy: WorkflowDefinition[P, R] = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.start_options = replace(self.start_options, **given)
        if copy.start_options.compensate is not None:
            copy.compensation = compensation_step(copy.start_options.compensate)
        return copy

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> WorkflowCall[R]:
        """This workflow with its arguments, for functions that have keywords of their own."""
        return WorkflowCall(self, args, kwargs)

    def __call__(self, ctx: Context, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        if isinstance(asyncio._get_running_loop(), KernelLoop):
            raise DeterminismError(
                f"workflow {self.name!r} was called directly inside a workflow{asked_at()}, where it would share its caller's "
                f"history; write: await ctx.child_workflow({self.fn.__name__}, ...)",
                operation=self.name,
            )
        return self.fn(ctx, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"


@dataclass(frozen=True, slots=True)
class WorkflowCall(Generic[R]):
    """A workflow with its arguments, made by ``WorkflowDefinition.bind``."""

    definition: WorkflowDefinition[..., R]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def _check_function(fn: Any) -> None:
    if isinstance(fn, (WorkflowDefinition, StepDefinition)):
        raise DefinitionError(f"expected a function, got {fn!r}, which is declared already")
    if not inspect.iscoroutinefunction(fn):
        raise DefinitionError(
            f"expected a workflow to be an async function, got {getattr(fn, '__qualname__', repr(fn))!r}; write: async def"
        )
    parameters = list(inspect.signature(fn).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise DefinitionError(
            f"workflow {fn.__qualname__!r} takes no context; write: async def {fn.__name__}(ctx: Context, ...)"
        )


def _by_name(messages: Sequence[AnyMessage]) -> dict[str, AnyMessage]:
    known: dict[str, AnyMessage] = {}
    for message in messages:
        if not isinstance(message, Message):
            raise DefinitionError(f"expected messages to hold Signal, Query and Update objects, got {message!r}")
        if known.setdefault(message.name, message) != message:
            raise DefinitionError(f"two messages are called {message.name!r}; names are unique within a workflow")
    return known


@overload
def workflow(fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /) -> WorkflowDefinition[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = ...,
    version: str | None = ...,
    timeout: Duration | None = ...,
    queue: str = ...,
    messages: Sequence[AnyMessage] = ...,
    on_unfinished: OnUnfinished = ...,
    default_retry: RetryPolicy | None = ...,
) -> Callable[[Callable[Concatenate[Context, P], Coroutine[Any, Any, R]]], WorkflowDefinition[P, R]]: ...


def workflow(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    timeout: Duration | None = None,
    queue: str = "default",
    messages: Sequence[AnyMessage] = (),
    on_unfinished: OnUnfinished = "wait",
    default_retry: RetryPolicy | None = None,
) -> Any:
    """Declare a workflow.

    Args:
        fn: an async function whose first parameter is the ``Context``.
        name: how the store names it; the function's ``__name__`` by default.
        version: a label of this version of the code, shown with the run.
        timeout: limit of a run; when it expires the run is cancelled, rolls back and fails with ``RunTimeoutError``.
        queue: workers of this queue run it, unless a start says otherwise.
        messages: signals, queries and updates whose schemas are published, so that senders without the code are checked.
        on_unfinished: when the function returns while message handlers still run: ``wait`` for them, or ``abandon`` them.
        default_retry: the retry policy of steps that have none.

    Replay:
        The function is run again from its start whenever a run is resumed. It must reach the same decisions from the
        same history: effects, clocks and randomness belong into steps or come from the context.

    Raises:
        DefinitionError: if it is not an async function of a context, or an annotation cannot be encoded.
    """

    def declare(function: Callable[..., Any]) -> WorkflowDefinition[..., Any]:
        return WorkflowDefinition(
            function, name=name, version=version, timeout=timeout, queue=queue, messages=messages,
            on_unfinished=on_unfinished, default_retry=default_retry,
        )  # fmt: skip

    return declare if fn is None else declare(fn)
