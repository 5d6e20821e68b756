"""Ids: UUIDv7, so that what is created together lies together (RFC 9562)."""

from __future__ import annotations

import os
import time
import uuid


def new_run_id() -> str:
    """A UUIDv7 as text: 48 bits of milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    bits = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    bits = bits & ~(0xF << 76) | (7 << 76)
    bits = bits & ~(0x3 << 62) | (2 << 62)
    return str(uuid.UUID(int=bits))
