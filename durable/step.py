"""Steps: definitions and their options.

A step is the only place for effects. ``@step`` declares one; a plain function passed to ``ctx.step`` is one with the
default options. When it is tried again is in ``durable.retry``, what it sees while it runs in ``durable.attempt``.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from datetime import timedelta
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, cast, overload

from durable.codec import ArgumentsCodec, ValueCodec, result_codec
from durable.duration import Duration, optional_us
from durable.errors import DefinitionError, DeterminismError
from durable.history import write_detail
from durable.kernel import guard
from durable.kernel.line import asked_at
from durable.kernel.loop import KernelLoop
from durable.retry import COMPENSATION_RETRY, ONCE, RetryPolicy
from durable.text import check_name, defined_by

P = ParamSpec("P")
R = TypeVar("R")

Isolation = Literal["auto", "thread", "process"]
Delivery = Literal["at_least_once", "at_most_once"]


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How a step is run. ``step()`` documents each field."""

    retry: RetryPolicy | None = None
    timeout: Duration | None = None
    total_timeout: Duration | None = None
    heartbeat_timeout: Duration | None = None
    queue: str | None = None
    isolation: Isolation = "auto"
    compensate: Callable[..., Any] | None = None
    delivery: Delivery = "at_least_once"
    transactional: bool = False
    idempotency_key: str | Callable[..., str] | None = None

    def __post_init__(self) -> None:
        if self.retry is not None and not isinstance(self.retry, RetryPolicy):
            raise DefinitionError(f"expected retry to be a RetryPolicy, got {self.retry!r}")
        optional_us(self.timeout, "timeout")
        optional_us(self.total_timeout, "total_timeout")
        optional_us(self.heartbeat_timeout, "heartbeat_timeout")
        if self.isolation not in ("auto", "thread", "process"):
            raise DefinitionError(f"expected isolation to be 'auto', 'thread' or 'process', got {self.isolation!r}")
        if self.delivery not in ("at_least_once", "at_most_once"):
            raise DefinitionError(f"expected delivery to be 'at_least_once' or 'at_most_once', got {self.delivery!r}")
        if self.delivery == "at_most_once" and self.retry is not None and self.retry.max_attempts != 1:
            raise DefinitionError("an at_most_once step has one attempt; remove retry= or set max_attempts=1")
        if self.heartbeat_timeout is not None and self.isolation == "process":
            raise DefinitionError(
                "heartbeats do not leave the process of a step; remove heartbeat_timeout= or isolation="
            )
        if self.transactional and (self.delivery != "at_least_once" or self.isolation == "process"):
            raise DefinitionError(
                "a transactional step runs in a thread, exactly once; remove delivery= and isolation="
            )
        if self.transactional and self.queue is not None:
            raise DefinitionError("a transactional step runs where its run is; remove queue=")
        if self.queue is not None:
            check_name(self.queue, "queue")
        if isinstance(self.idempotency_key, str):
            check_name(self.idempotency_key, "idempotency_key")
        elif self.idempotency_key is not None and not callable(self.idempotency_key):
            raise DefinitionError(
                f"expected idempotency_key to be a text or a function of the step's arguments, got {self.idempotency_key!r}"
            )
        if self.compensate is not None and not callable(self.compensate):
            raise DefinitionError(f"expected compensate to be a function or step, got {self.compensate!r}")

    def policy(self, *defaults: RetryPolicy | None) -> RetryPolicy:
        """When a step is repeated: its own policy, else the first default, else never; at-most-once never repeats."""
        if self.delivery == "at_most_once":
            return ONCE
        if self.retry is not None:
            return self.retry
        return next((policy for policy in defaults if policy is not None), ONCE)

    def as_recorded(self, fields: Mapping[str, Any]) -> StepOptions:
        """These options with those that govern attempts as ``to_json`` recorded them for one call."""
        known = {
            item.name: fields.get(item.name, item.default)
            for item in dataclass_fields(self)
            if item.name in _OF_ATTEMPTS
        }
        if known["retry"] is not None:
            known["retry"] = RetryPolicy.from_json(known["retry"])
        return replace(self, **known)

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from the defaults, as JSON-compatible values."""
        present: dict[str, Any] = {}
        for item in dataclass_fields(self):
            value = getattr(self, item.name)
            if value == item.default:
                continue
            if isinstance(value, RetryPolicy):
                value = value.to_json()
            elif isinstance(value, timedelta):
                value = value.total_seconds()
            elif item.name == "idempotency_key" and callable(value):
                value = getattr(value, "__qualname__", type(value).__qualname__)
            elif callable(value):
                value = step_name(value)
            present[item.name] = value
        return present


_OF_ATTEMPTS: Final = frozenset({"retry", "timeout", "total_timeout", "heartbeat_timeout", "isolation", "delivery"})


def step_name(fn: Callable[..., Any]) -> str:
    """The name under which a callable is recorded: its ``__qualname__``, or that of what it wraps or of its class.

    Raises:
        DefinitionError: for a lambda, which has no name of its own.
    """
    if isinstance(fn, StepDefinition):
        return fn.name
    if isinstance(fn, functools.partial):
        return step_name(fn.func)
    name: str = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    if name.endswith("<lambda>"):
        raise DefinitionError("a lambda has no name to record; use a named function, or step(fn, name='...')")
    return name


class StepDefinition(Generic[P, R]):
    """A step: a function, its name and its options. Calling it outside workflows runs the function plainly."""

    __slots__ = (
        "__wrapped__", "arguments", "compensation", "detail", "fn", "is_async", "name", "options_", "result",
    )  # fmt: skip

    def __init__(self, fn: Callable[P, Any], name: str | None = None, options: StepOptions | None = None) -> None:
        with defined_by(fn):
            self._define(fn, name, options or StepOptions())

    def _define(self, fn: Callable[P, Any], name: str | None, options: StepOptions) -> None:
        if isinstance(fn, StepDefinition):
            raise DefinitionError(f"step {fn.name!r} is a step already; use {fn.name}.options(...)")
        if not callable(fn):
            raise DefinitionError(f"expected a function, got {fn!r}")
        self.fn: Callable[P, Any] = fn
        self.__wrapped__ = fn
        self.name: str = name if name is not None else step_name(fn)
        check_name(self.name, "the name of a step")
        self.is_async = _is_async(fn)
        self.arguments: ArgumentsCodec = ArgumentsCodec(fn, owner=self.name)
        self.result: ValueCodec = result_codec(fn)
        guard.exempt(fn)
        self._configure(options)

    def _configure(self, options: StepOptions) -> None:
        self.options_ = options
        if (options.queue is not None or options.isolation == "process") and "<locals>" in self.name:
            raise DefinitionError(
                f"step {self.name!r} is a local function, which another process cannot find; "
                "define it at the top of its module, or give it a name="
            )
        self.compensation: StepDefinition[..., Any] | None = (
            compensation_step(options.compensate) if options.compensate is not None else None
        )
        self.detail = write_detail(options=options.to_json() or None)

    def options(
        self,
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        total_timeout: Duration | None = None,
        heartbeat_timeout: Duration | None = None,
        queue: str | None = None,
        isolation: Isolation | None = None,
        compensate: Callable[..., Any] | None = None,
        delivery: Delivery | None = None,
        idempotency_key: str | Callable[..., str] | None = None,
    ) -> StepDefinition[P, R]:
        """This step with other options for one call; what is not given stays.

        Raises:
            DefinitionError: if the options contradict each other.
        """
        given = {key: value for key, value in locals().items() if key != "self" and value is not None}
        return self._with(replace(self.options_, **given))

    def as_recorded(self, fields: Mapping[str, Any]) -> StepDefinition[P, R]:
        """This step with the options of a call as its record has them."""
        return self._with(self.options_.as_recorded(fields))

    def _with(self, options: StepOptions) -> StepDefinition[P, R]:
        copy: StepDefinition[P, R] = object.__new__(type(self))
        for slot in ("fn", "__wrapped__", "name", "is_async", "arguments", "result"):
            setattr(copy, slot, getattr(self, slot))
        copy._configure(options)
        return copy

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if isinstance(asyncio._get_running_loop(), KernelLoop):
            raise DeterminismError(
                f"step {self.name!r} was called directly inside a workflow{asked_at()}, where its result would not be recorded; "
                f"write: await ctx.step({self.name}, ...)",
                operation=self.name,
            )
        return cast("R", self.fn(*args, **kwargs))

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        bound = self.options()
        bound.fn = self.fn.__get__(instance, owner)
        bound.arguments = ArgumentsCodec(bound.fn, owner=self.name)
        return bound

    def __repr__(self) -> str:
        return f"<step {self.name}>"


def _is_async(fn: Callable[..., Any]) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def compensation_step(fn: Callable[..., Any]) -> StepDefinition[..., Any]:
    """The definition of a compensation: as declared, with ten attempts unless it says otherwise (rule S2).

    Raises:
        DefinitionError: if it has no name that another process would find.
    """
    definition = as_step(fn)
    if "<locals>" in definition.name:
        raise DefinitionError(
            f"compensation {definition.name!r} is a local function, which another process cannot find; "
            "define it at the top of its module, or give it a name="
        )
    if definition.options_.retry is None and definition.options_.delivery == "at_least_once":
        return definition.options(retry=COMPENSATION_RETRY)
    return definition


_plain: dict[Any, StepDefinition[..., Any]] = {}
_PLAIN_LIMIT: Final = 4096


def as_step(fn: Callable[..., Any]) -> StepDefinition[..., Any]:
    """The definition of a callable; a plain one gets the default options, and is remembered.

    Raises:
        DefinitionError: if it is not callable or has no usable name or annotations.
    """
    if isinstance(fn, StepDefinition):
        return fn
    try:
        known = _plain.get(fn)
    except TypeError:  # an unhashable callable object
        return StepDefinition(fn)
    if known is None:
        if getattr(fn, "_durable_workflow_", None) is not None:
            raise DefinitionError(
                f"{getattr(fn, '__name__', fn)!r} is a workflow, not a step; use ctx.child_workflow(...)"
            )
        known = StepDefinition(fn)
        if len(_plain) >= _PLAIN_LIMIT:
            _plain.clear()
        _plain[fn] = known
    return known


@overload
def step(fn: Callable[P, R], /) -> StepDefinition[P, R]: ...
@overload
def step(
    fn: Callable[P, R],
    /,
    *,
    name: str | None = ...,
    retry: RetryPolicy | None = ...,
    timeout: Duration | None = ...,
    total_timeout: Duration | None = ...,
    heartbeat_timeout: Duration | None = ...,
    queue: str | None = ...,
    isolation: Isolation = ...,
    compensate: Callable[..., Any] | None = ...,
    delivery: Delivery = ...,
    transactional: bool = ...,
    idempotency_key: str | Callable[..., str] | None = ...,
) -> StepDefinition[P, R]: ...
@overload
def step(
    *,
    name: str | None = ...,
    retry: RetryPolicy | None = ...,
    timeout: Duration | None = ...,
    total_timeout: Duration | None = ...,
    heartbeat_timeout: Duration | None = ...,
    queue: str | None = ...,
    isolation: Isolation = ...,
    compensate: Callable[..., Any] | None = ...,
    delivery: Delivery = ...,
    transactional: bool = ...,
    idempotency_key: str | Callable[..., str] | None = ...,
) -> Callable[[Callable[P, R]], StepDefinition[P, R]]: ...


def step(  # noqa: PLR0913 - one keyword an option, as users write them
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    timeout: Duration | None = None,
    total_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    queue: str | None = None,
    isolation: Isolation = "auto",
    compensate: Callable[..., Any] | None = None,
    delivery: Delivery = "at_least_once",
    transactional: bool = False,
    idempotency_key: str | Callable[..., str] | None = None,
) -> Any:
    """Declare a step, or wrap somebody else's function as one.

    Args:
        fn: a function, method, callable object or ``functools.partial``; async or not.
        name: how history names it; the function's ``__qualname__`` by default.
        retry: when a failed attempt is repeated; None: the workflow's or runtime's default, else one attempt.
        timeout: limit of one attempt, seconds or timedelta, from when it has its thread or process.
            A synchronous function cannot be stopped: its thread goes on, its result is refused.
        total_timeout: limit of all attempts, delays and waiting together.
        heartbeat_timeout: the longest silence between two ``heartbeat()`` calls of an attempt.
        queue: run it on a worker that serves this queue; None: where the workflow runs.
        isolation: ``auto`` (async in the loop, sync in a thread), ``thread``, or ``process`` for CPU-bound functions.
        compensate: called with the step's result when the run rolls back.
        delivery: ``at_least_once``, or ``at_most_once``: never run again once it may have begun.
        transactional: commit its writes and its completion in one transaction of the store's database.
        idempotency_key: a text, or a function of the step's arguments; by default derived from the run and the call.

    Raises:
        DefinitionError: if the options contradict each other or an annotation cannot be encoded.
    """
    options = StepOptions(
        retry, timeout, total_timeout, heartbeat_timeout, queue, isolation, compensate, delivery, transactional,
        idempotency_key,
    )  # fmt: skip
    if fn is None:
        return lambda function: StepDefinition(function, name, options)
    return StepDefinition(fn, name, options)
