"""What a function can reach of the workflow's variables, and whether calling it changed any of that.

Validators and queries run live and never on replay (rule K4): an update that is refused leaves no event, so there is
nothing by which replay could call its validator again. What they write into a variable of the workflow is therefore there
until the run is evicted and gone afterwards, and commands that depend on it diverge. Commands, tasks and futures are refused
by name where they are made; assignments and ``list.append`` make no sound, so they are looked for: before the call and after
it, the variables that the function closes over are walked, and the two walks compared by identity.

The walk follows containers, data classes, pydantic models and instances of classes that belong to no library, the nearest
first, and ends after ``MAX_STEPS`` things; the length of a container counts as one. It calls no code of the author's.
Global variables are left out, and so is what libraries keep inside their objects, who fill caches as they like.
"""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice, zip_longest
from types import FunctionType, MemberDescriptorType, MethodType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from durable.errors import ReadOnlyError
from durable.kernel.location import definition_place, is_installed

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer

MAX_STEPS: Final = 5_000
"""How many things one walk looks at."""

_SCALARS: Final = (int, float, complex, str, bytes, bool, type(None), datetime, date, timedelta, Decimal, UUID)
_EMPTY: Final = object()

Step = tuple[str, object]
"""The variable under which something was found, and what it was."""


def call_read_only(run: Replayer, who: str, fn: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call what must change nothing, be it by commands or by hand.

    Args:
        run: the run.
        who: ``the validator`` or ``a query``, for messages.
        fn: the function.
        arguments: for it.

    Raises:
        ReadOnlyError: it changed something. The run is to be evicted: a fresh replayer has its variables as they were.
        Exception: what the function raises, if it changed nothing.
    """
    variables = Variables(fn)
    try:
        with run.issuer.read_only(who):
            result = fn(*arguments)
    except Exception as error:
        _check_unchanged(run, who, fn, variables, error)
        raise
    _check_unchanged(run, who, fn, variables, None)
    return result


def _check_unchanged(
    run: Replayer, who: str, fn: Callable[..., Any], variables: Variables, error: Exception | None
) -> None:
    changed = variables.changed()
    if changed is not None:
        run.loop.tainted = True
        if isinstance(error, ReadOnlyError):
            return  # which says it better
        raise ReadOnlyError(
            f"{who} must not change the run, because replay does not call it; it changed the variable {changed!r}"
            f"{definition_place(fn)}; change it in the handler of an update"
        ) from error


class Variables:
    """The variables of the workflow that a function can reach, as they are now."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._before = _walk(fn)

    def changed(self) -> str | None:
        """The name of a variable that is not as it was, or None."""
        for before, after in zip_longest(self._before, _walk(self._fn)):
            if before is None or after is None or not _is_same(before[1], after[1]):
                return (before or after)[0]
        return None


def _is_same(before: object, after: object) -> bool:
    return before is after or (type(before) is type(after) and isinstance(before, _SCALARS) and before == after)


def _walk(fn: Callable[..., Any]) -> list[Step]:
    """Everything within reach, breadth first."""
    steps: list[Step] = []
    seen: set[int] = set()
    ahead: deque[Step] = deque([(getattr(fn, "__name__", "it"), fn)])
    while ahead and len(steps) < MAX_STEPS:
        step = ahead.popleft()
        steps.append(step)
        name, value = step
        if isinstance(value, _SCALARS) or id(value) in seen:
            continue
        seen.add(id(value))
        size = _size(value)
        if size is not None:
            steps.append((name, size))
        ahead.extend(islice(_inside(name, value), MAX_STEPS - len(steps)))
    return steps


def _size(value: object) -> object:
    """What tells by itself that a container changed, also one that is too long to be walked."""
    if isinstance(value, bytearray):
        return bytes(value)
    for kind in (dict, list, tuple, set, frozenset, deque):
        if isinstance(value, kind):
            return kind.__len__(value)  # type: ignore[arg-type]
    return None


def _inside(name: str, value: Any) -> Iterator[Step]:
    """What a thing holds; nothing for what is opaque."""
    if isinstance(value, FunctionType):
        for variable, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield variable, cell.cell_contents
            except ValueError:  # not assigned yet
                yield variable, _EMPTY
    elif isinstance(value, MethodType):
        yield name, value.__self__
        yield name, value.__func__
    elif isinstance(value, functools.partial):
        yield from ((name, part) for part in (value.func, value.args, value.keywords))
    else:
        if isinstance(value, dict):
            yield from ((name, part) for item in dict.items(value) for part in item)
        for kind in (list, tuple, set, frozenset, deque):
            if isinstance(value, kind):
                yield from ((name, part) for part in kind.__iter__(value))  # type: ignore[arg-type]
        if _is_open(type(value)):
            yield from _attributes(name, value)


def _attributes(name: str, value: Any) -> Iterator[Step]:
    cls = type(value)
    for owner in cls.__mro__:
        for attribute, descriptor in vars(owner).items():
            if isinstance(descriptor, MemberDescriptorType) and not attribute.startswith("__"):
                try:
                    yield name, descriptor.__get__(value)
                except AttributeError:  # not assigned yet
                    yield name, _EMPTY
    if cls.__dictoffset__:
        for attribute, content in object.__getattribute__(value, "__dict__").items():
            if not isinstance(_declared(cls, attribute), functools.cached_property):  # reading it fills it
                yield name, attribute
                yield name, content


def _declared(cls: type, attribute: str) -> object:
    return next((vars(owner)[attribute] for owner in cls.__mro__ if attribute in vars(owner)), None)


def _is_open(cls: type) -> bool:
    """Whether instances of a class hold their state in attributes, and nothing else."""
    if issubclass(cls, type) or cls.__module__.partition(".")[0] in ("durable", "runtime"):
        return False
    if (
        cls.__module__ in ("asyncio.locks", "asyncio.queues")
        or hasattr(cls, "__dataclass_fields__")
        or hasattr(cls, "__pydantic_fields__")
    ):
        return True
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return file is not None and not is_installed(file)
