"""Stubs: what stands for a step or a child workflow in a test, and the record of the calls."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from durable.duration import Duration, to_us
from durable.errors import DefinitionError
from durable.step import StepDefinition, step_name
from durable.workflow import WorkflowDefinition

Stubbable = StepDefinition[..., Any] | WorkflowDefinition[..., Any] | Callable[..., Any] | str

ABSENT: Final = object()
"""No ``returns=`` was given."""


@dataclass(frozen=True, slots=True)
class StepCall:
    """One attempt of a step, or one start of a child that is stubbed.

    Attributes:
        name: of the step or workflow.
        arguments: by name of the parameter, as they came out of their record; those that were left out are left out.
        attempt: 1 for the first.
        at: when it began, virtual time.
        workflow_id: of the run that called.
        idempotency_key: of the step; '' for a child.
        token: by which a step that is handed over is completed; '' for a child.
    """

    name: str
    arguments: dict[str, Any]
    attempt: int
    at: datetime
    workflow_id: str
    idempotency_key: str = ""
    token: str = ""


def bound_arguments(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by the names of a function's parameters."""
    return dict(inspect.signature(fn).bind(*args, **kwargs).arguments)


def definition_name(what: Stubbable) -> str:
    """The name under which history records a step or workflow.

    Raises:
        DefinitionError: it is neither, nor a name.
    """
    if isinstance(what, str):
        return what
    if isinstance(what, (StepDefinition, WorkflowDefinition)):
        return what.name
    if not callable(what):
        raise DefinitionError(f"expected a step, a workflow or a name, got {what!r}")
    return step_name(what)


class Stub:
    """What one step or child workflow does in a test. Made by ``WorkflowEnvironment.stub``.

    Attributes:
        name: of the step or workflow.
        after_us: virtual duration of a call.
    """

    def __init__(
        self,
        name: str,
        behaviour: Callable[..., Any] | None,
        returns: Any,
        raises: BaseException | type[BaseException] | None,
        sequence: Iterable[Any] | None,
        after: Duration,
    ) -> None:
        given = [behaviour is not None, returns is not ABSENT, raises is not None, sequence is not None]
        if sum(given) > 1:
            raise DefinitionError(f"stub of {name!r}: give one of a function, returns=, raises= and sequence=")
        if behaviour is not None and not callable(behaviour):
            raise DefinitionError(
                f"stub of {name!r}: expected a function, got {behaviour!r}; write returns={behaviour!r}"
            )
        if raises is not None and not _is_error(raises):
            raise DefinitionError(f"stub of {name!r}: expected raises= to be an exception, got {raises!r}")
        self.name = name
        self.after_us = to_us(after, "after")
        self._behaviour = behaviour
        self._returns = None if returns is ABSENT else returns
        self._raises = raises
        self._given: dict[Hashable, Any] = {}
        self._source: Iterator[Any] | None = None
        self._sequence: Iterator[Any] | None = None
        if sequence is not None:
            self._source, self._sequence = itertools.tee(sequence)

    def __repr__(self) -> str:
        return f"<stub of {self.name}>"

    def _next(self, items: Iterator[Any]) -> Any:
        try:
            return next(items)
        except StopIteration:
            raise AssertionError(
                f"the stub of {self.name!r} was called more often than its sequence has items"
            ) from None

    def renewed(self) -> Stub:
        """The same stub for another environment: a sequence begins anew, as often as one likes."""
        made = copy.copy(self)
        made._sequence, made._given = copy.copy(self._source), {}
        return made

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any], attempt: Hashable = None) -> Any:
        """One call: the value, or an awaitable of it.

        Args:
            attempt: names the attempt; one that is lost in a crash and begins again gets the same item of a sequence.

        Raises:
            BaseException: what the stub raises.
        """
        if self._behaviour is not None:
            self._check_signature(self._behaviour, args, kwargs)
            return self._behaviour(*args, **kwargs)
        if self._raises is not None:
            raise self._raises
        if self._sequence is None:
            return self._returns
        if attempt is not None and attempt in self._given:
            item = self._given[attempt]
        else:
            item = self._given[attempt] = self._next(self._sequence)
        if _is_error(item):
            raise item
        return item

    def _check_signature(self, behaviour: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            signature = inspect.signature(behaviour)
        except ValueError:  # a builtin without one
            return
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise AssertionError(
                f"the stub of {self.name!r} does not take the arguments of its calls: {error}"
            ) from None


def _is_error(item: object) -> bool:
    return isinstance(item, BaseException) or (isinstance(item, type) and issubclass(item, BaseException))
