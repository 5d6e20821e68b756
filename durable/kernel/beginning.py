"""What the first turn of a run adds to its start: the world that it begins in (rule K9)."""

from __future__ import annotations

import importlib.metadata
import platform
from functools import cache
from typing import Any

from durable.history import KERNEL_VERSION, Fact, merge_details, write_detail
from durable.workflow import WorkflowDefinition


@cache
def anyio_version() -> str:
    """The installed version of anyio."""
    return importlib.metadata.version("anyio")


def begin(start: Fact, definition: WorkflowDefinition[..., Any], randomness: bytes) -> Fact:
    """The start with kernel, Python and anyio versions, a seed and a salt, and the workflow's timeout and version.

    Args:
        randomness: 18 bytes, the seed and the salt.
    """
    environment = write_detail(
        kernel=KERNEL_VERSION,
        python=platform.python_version(),
        anyio=anyio_version(),
        seed=randomness[:16].hex(),
        salt=int.from_bytes(randomness[16:18]),
        timeout_us=definition.timeout_us,
        version=definition.version,
    )
    return start._replace(detail=merge_details(start.detail, environment))
