"""Which code a worker has: what a stuck run waits for is that this changes (rule L9)."""

from __future__ import annotations

import inspect
import sys
from hashlib import sha256

from durable.registry import Registry


def code_fingerprint(registry: Registry, workflow: str) -> str:
    """A digest of the workflow's module, or of its own source, and of the names that the worker knows."""
    definition = registry.workflows[workflow]
    digest = sha256()
    module = sys.modules.get(definition.fn.__module__)
    try:
        source = inspect.getsource(module) if module is not None else inspect.getsource(definition.fn)
    except (OSError, TypeError):
        code = definition.fn.__code__
        source = f"{code.co_code.hex()}{code.co_consts!r}{code.co_names!r}"
    for part in (source, definition.version or "", *sorted(registry.workflows), *sorted(registry.steps)):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]
