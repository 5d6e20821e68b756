"""Exceptions as records, and exceptions again from their records (rule H3).

A record says in JSON which class was raised, with which arguments and attributes, what it said, where, and
whether making it again worked when it was recorded. Replay follows the record, not its own luck: a class
that could be rebuilt then and is missing now is missing code, and everything else is a ``StepError``, on
every machine.

    {"type": ["app", "CardDeclined"], "rebuilds": true, "args": ["4000"], "state": {"limit": 10},
     "message": "4000", "traceback": "...", "notes": [...], "cause": {...} or null, "leaves": [...]}

Only subclasses of ``Exception`` rebuild, and none that means something else where it arrives: ``StopIteration`` and
``StopAsyncIteration``, and ``RecursionError`` and ``MemoryError``, which in a workflow are its interpreter's (L8). An
exception is made as its own pickling would make it, by its class with its arguments and then its attributes;
attributes that JSON cannot hold are left out and named in a note.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pydantic_core import from_json, to_json

from durable.codec.closed import is_plain
from durable.codec.difference import difference
from durable.errors import DurableError, HistoryCorruptedError, MissingCodeError, StepError
from durable.text import escape

MAX_MESSAGE: Final = 8 * 1024
MAX_TRACEBACK: Final = 16 * 1024
MAX_FRAMES: Final = 40
MAX_CAUSES: Final = 8
MAX_FRAMED_LEAVES: Final = 20
MAX_NOTES: Final = 20

_OUR_PACKAGES: Final = ("durable", "runtime", "asyncio", "anyio", "concurrent")
"""Frames of these packages say nothing about the user's code; kept only if there are no others."""

_NEVER_REBUILT: Final = (StopIteration, StopAsyncIteration, RecursionError, MemoryError)

_REMOTE: Final = "Traceback where it was raised (most recent call last):\n"


def import_name(module: str) -> str:
    """The name by which other processes import a module: for what runs as ``__main__``, that of its file."""
    if module not in ("__main__", "__mp_main__"):
        return module
    main = sys.modules.get(module)
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in ("__main__", "__mp_main__"):  # python -m package.module
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else module


# -- recording --------------------------------------------------------------------------------------------


def record_exception(error: BaseException, *, names: Callable[[str], str] | None = None) -> str:
    """Describe an exception, its causes and the leaves of a group as JSON text.

    Args:
        error: any exception.
        names: gives the name under which a module is recorded; ``import_name`` if absent.
    """
    return to_json(_Recorder(names or import_name).record(error), inf_nan_mode="constants").decode()


def summarize_exception(error: BaseException) -> str:
    """``ValueError: too small``; for a group with its leaves: ``ExceptionGroup: two failed [ValueError: a; KeyError: b]``."""
    said = _text(_message(error), MAX_MESSAGE)
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if not isinstance(error, BaseExceptionGroup):
        return text
    leaves = [summarize_exception(leaf) for leaf in error.exceptions[:MAX_FRAMED_LEAVES]]
    more = len(error.exceptions) - len(leaves)
    return f"{text} [{'; '.join(leaves)}{f'; and {more} more' if more else ''}]"


class _Recorder:
    """Follows causes and leaves from one exception; each is told once, so that cycles end."""

    def __init__(self, names: Callable[[str], str]) -> None:
        self._names = names
        self._told: set[int] = set()

    def record(self, error: BaseException, *, depth: int = 0, with_frames: bool = True) -> dict[str, Any]:
        self._told.add(id(error))
        cls = type(error)
        record: dict[str, Any] = {
            "type": [self._names(cls.__module__), cls.__qualname__],
            "rebuilds": False,
            "args": None,
            "state": None,
            "message": _text(_message(error), MAX_MESSAGE),
            "traceback": _frames(error) if with_frames else "",
            "notes": [_text(note, MAX_MESSAGE) for note in getattr(error, "__notes__", ())[:MAX_NOTES]],
            "cause": None,
        }
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None and id(cause) not in self._told and depth < MAX_CAUSES:
            record["cause"] = self.record(cause, depth=depth + 1, with_frames=with_frames)
        if isinstance(error, BaseExceptionGroup):
            record["args"] = [escape(str(error.message))]
            record["rebuilds"] = _group_rebuilds(error)
            record["leaves"] = [
                self.record(leaf, depth=depth + 1, with_frames=with_frames and index < MAX_FRAMED_LEAVES)
                for index, leaf in enumerate(error.exceptions)
            ]
        else:
            _describe_parts(error, record)
        return record


def _describe_parts(error: BaseException, record: dict[str, Any]) -> None:
    """Fill in arguments and attributes, and try whether they make the exception again."""
    args = _constructor_args(error)
    state = {name: value for name, value in vars(error).items() if name != "__notes__"}
    kept = {name: value for name, value in state.items() if _is_writable(value)}
    if not isinstance(error, Exception) or isinstance(error, _NEVER_REBUILT) or not _is_writable(args):
        return
    record["args"], record["state"] = args, kept or None
    record["rebuilds"] = _rebuilds(error, record)
    lost = [name for name in state if name not in kept]
    if lost and record["rebuilds"]:
        record["notes"].append(f"not recorded, because JSON cannot hold them: {', '.join(lost)}")


def _constructor_args(error: BaseException) -> list[Any]:
    """The arguments that its own pickling gives to the class, where that is how it pickles."""
    try:
        reduced = error.__reduce__()
    except Exception:  # noqa: BLE001 - an exception that cannot be pickled may still be made from its args
        return list(error.args)
    if isinstance(reduced, tuple) and reduced[0] is type(error) and isinstance(reduced[1], tuple):
        return list(reduced[1])
    return list(error.args)


def _rebuilds(error: Exception, record: dict[str, Any]) -> bool:
    cls = type(error)
    if _find(sys.modules.get(cls.__module__), cls.__qualname__) is not cls:
        return False
    try:
        copy = _make(cls, from_json(to_json(record["args"], inf_nan_mode="constants")), record["state"])
        return type(copy) is cls and difference(list(error.args), list(copy.args)) is None
    except Exception:  # noqa: BLE001 - its constructor wants something else: it does not rebuild
        return False


def _group_rebuilds(error: BaseExceptionGroup[BaseException]) -> bool:
    cls: type = type(error)
    if _find(sys.modules.get(cls.__module__), cls.__qualname__) is not cls:
        return False
    try:
        return type(cls(error.message, [Exception()])) is cls
    except Exception:  # noqa: BLE001 - its constructor wants something else: it does not rebuild
        return False


def _is_writable(value: Any) -> bool:
    """Whether a value is plain JSON, without lone surrogates."""
    if not is_plain(value):
        return False
    try:
        to_json(value, inf_nan_mode="constants")
    except ValueError:
        return False
    return True


def _message(error: BaseException) -> str:
    try:
        return error.message if isinstance(error, DurableError) else str(error)
    except Exception as broken:  # noqa: BLE001 - a broken __str__ must not hide that a step failed
        return f"<{type(error).__qualname__}, whose __str__ raised {type(broken).__qualname__}>"


def _text(text: Any, limit: int) -> str:
    """A text that JSON can hold, its middle cut out if it is longer than the limit."""
    plain = escape(str(text))
    if len(plain) <= limit:
        return plain
    half = limit // 2
    return f"{plain[:half]}\n[... {len(plain) - 2 * half} characters left out ...]\n{plain[-half:]}"


def _frames(error: BaseException) -> str:
    """The frames of the traceback that belong to the user, the innermost of them if there are too many. Where there are
    none, an error of this project says all in its message; of any other, where it came from is all there is to go by."""
    walked = list(traceback.walk_tb(error.__traceback__))
    own = [(frame, line) for frame, line in walked if not _is_ours(frame.f_globals.get("__name__", ""))]
    kept = (own or ([] if isinstance(error, DurableError) else walked))[-MAX_FRAMES:]
    return _text("".join(traceback.StackSummary.extract(iter(kept)).format()), MAX_TRACEBACK)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OUR_PACKAGES


# -- rebuilding -------------------------------------------------------------------------------------------


def rebuild_exception(record: str | dict[str, Any], *, modules: Sequence[ModuleType] = (), step: str = "") -> Exception:
    """Make the exception that a record describes, with its cause and, as a note, where it was raised.

    Args:
        record: what ``record_exception`` wrote.
        modules: the modules of registered definitions, searched first.
        step: name of the step that raised it, if it was one.

    Returns:
        The same class where it was recorded as one that rebuilds, else a ``StepError`` with the message, which names
        the step and the class.

    Raises:
        MissingCodeError: if the class was rebuilt when it was recorded and cannot be now.
        HistoryCorruptedError: if it is no record.
    """
    try:
        fields = from_json(record) if isinstance(record, str) else record
        return _rebuild(fields, modules, step)
    except (KeyError, TypeError, ValueError) as error:
        message = f"the record of an exception cannot be read: {error!r}"
        raise HistoryCorruptedError(message) from error


def _rebuild(record: dict[str, Any], modules: Sequence[ModuleType], step: str) -> Exception:
    module, qualname = record["type"]
    if not record["rebuilds"]:
        words = f"step {step!r} raised {qualname}: {record['message']}" if step else record["message"]
        error: Exception = StepError(words, step=step, error_type=f"{module}.{qualname}")
    else:
        cls = _import(module, qualname, modules)
        leaves = [_rebuild(leaf, modules, step) for leaf in record.get("leaves", ())]
        try:
            error = cls(*record["args"], leaves) if leaves else _make(cls, record["args"], record["state"])
        except Exception as reason:
            raise _missing(module, qualname, f"its constructor refuses the recorded arguments: {reason!r}") from reason
    if record["cause"] is not None:
        error.__cause__ = _rebuild(record["cause"], modules, step)
    for note in record["notes"]:
        error.add_note(note)
    if record["traceback"]:
        error.add_note(_REMOTE + record["traceback"].rstrip())
    return error


def _make(cls: type[Exception], args: list[Any], state: dict[str, Any] | None) -> Exception:
    """An instance as pickling would make it. This project's own classes take more than their args tell."""
    if issubclass(cls, DurableError):
        own = cls.__new__(cls, *args)
        Exception.__init__(own, *args)
        own.message, own.data = str(args[0]) if args else "", {}
        error: Exception = own
    else:
        error = cls(*args)
    error.__dict__.update(state or {})
    return error


def _import(module: str, qualname: str, modules: Iterable[ModuleType]) -> type[Exception]:
    """The class of a record: from the registered modules, else by importing its module."""
    registered = {import_name(one.__name__): one for one in modules}
    by_stem = {name.rpartition(".")[2]: one for name, one in registered.items()}
    # a script must not be imported a second time beside its run as __main__
    main = sys.modules["__main__"] if import_name("__main__") == module else None
    for candidate in (registered.get(module), by_stem.get(module.rpartition(".")[2]), main):
        cls = _find(candidate, qualname)
        if cls is not None:
            return cls
    try:
        cls = _find(importlib.import_module(module), qualname)
    except Exception as error:  # a module may raise what it likes while it is imported
        raise _missing(module, qualname, f"its module cannot be imported: {error!r}") from error
    if cls is None:
        raise _missing(module, qualname, "its module does not have it")
    return cls


def _find(module: ModuleType | None, qualname: str) -> type[Exception] | None:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _missing(module: str, qualname: str, reason: str) -> MissingCodeError:
    return MissingCodeError(
        f"history records the exception {module}.{qualname}, which cannot be rebuilt here: {reason}; "
        "run a worker that has this class, or keep an alias of it where it was",
        module=module,
        qualname=qualname,
    )
