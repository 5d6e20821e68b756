"""What makes a worker different from another: a run that is stuck waits for a worker of another fingerprint (rule L9).

Workflow code reaches more than its own module, so everything counts that may decide how a run goes: the sources of the
user's modules that are loaded when the worker starts, what is installed, Python, the rules of the kernel, the names that
the worker knows, and its payload codecs with the ids of their keys. Content counts, not the time of a file: two workers
with the same code have the same fingerprint. One that differs without need costs one vain attempt a stuck run, no more.
"""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Container, Iterator
from hashlib import sha256
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

import durable
import runtime
from durable.codec import Envelope
from durable.handle import RunStatus
from durable.history import KERNEL_VERSION, EventKind
from durable.kernel.location import is_installed
from durable.registry import Registry
from runtime.worker.held import HeldRun

_UNCOUNTED: Final = frozenset({durable.__name__, runtime.__name__, "__main__"})
"""Packages whose version counts instead, and the script that starts a worker, which names its place in the first line."""

_INSTALLED: Final = (".dist-info", ".egg-info")

_REMEMBERED: Final = 64
"""Codes that a stuck run remembers; so many different ones are never at work at once."""


def code_fingerprints(registry: Registry, envelope: Envelope) -> dict[str, str]:
    """The fingerprint of a worker for each workflow that it knows."""
    shared = sha256()
    modules = [one.fn.__module__ for one in registry.workflows.values()]
    modules += [one.fn.__module__ for one in registry.steps.values()]
    for part in (
        f"kernel {KERNEL_VERSION} python {platform.python_version()}",
        *envelope.description(),
        *sorted(registry.workflows),
        *sorted(registry.steps),
        *_installed(),
        *_sources({module.partition(".")[0] for module in modules}),
    ):
        shared.update(part.encode() + b"\0")
    found = {}
    for name, definition in registry.workflows.items():
        own = shared.copy()
        own.update(f"{definition.version or ''}\0{_code_of(definition.fn)}".encode())
        found[name] = own.hexdigest()[:16]
    return found


def tried_codes(held: HeldRun, code: str | None) -> str | None:
    """With what a run that gets stuck now was tried since it last moved, or since somebody asked it to resume."""
    row = held.row
    is_resumed = any(item.fact.kind == EventKind.RUN_RESUMED for item in held.inbox)
    is_again = row.status is RunStatus.STUCK and row.seq == held.seq and not is_resumed
    before = (row.code or "").split() if is_again else []
    codes = [one for one in before if one != code] + ([code] if code else [])
    return " ".join(codes[-_REMEMBERED:]) or None


def _installed() -> list[str]:
    """Names and versions of all installed packages, as the names of their folders tell them."""
    found: set[str] = set()
    for folder in sys.path:
        try:
            found.update(path.name for path in Path(folder or ".").iterdir() if path.name.endswith(_INSTALLED))
        except OSError:
            continue  # an archive, or a folder that is gone
    return sorted(found)


def _sources(packages: Container[str]) -> Iterator[str]:
    """The user's modules with digests of their files: those outside of libraries, and those of ``packages`` anywhere."""
    for name, module in sorted(sys.modules.items()):
        top = name.partition(".")[0]
        path = _file_of(module)
        if path is None or (top not in packages and (top in _UNCOUNTED or is_installed(path))):
            continue
        try:
            digest = sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            continue  # within an archive, or deleted since it was loaded
        yield f"{name} {digest}"


def _file_of(module: ModuleType | None) -> str | None:
    path = getattr(module, "__file__", None)
    return path if isinstance(path, str) else None


def _code_of(fn: Any) -> str:
    """What a function does, where its source is in no file."""
    module = sys.modules.get(fn.__module__)
    if _file_of(module) is not None or not isinstance(fn, FunctionType):
        return ""
    try:
        return inspect.getsource(fn)
    except (OSError, TypeError):
        code = fn.__code__
        return f"{code.co_code.hex()}{code.co_consts!r}{code.co_names!r}"
