"""SQL out of the .sql files beside this module: named blocks, and statements that write many rows at once.

Python's sqlite3 gives up the interpreter's lock around every step of a statement, and beside a busy event loop each
way back can cost a whole switch interval. So the hot path counts statements: a batch's rows go through statements
of 128, 64, ... 2, 1 rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import chain
from typing import Any, Final

_SIZES: Final = (128, 64, 32, 16, 8, 4, 2, 1)
_MARK: Final = "-- name: "


@cache
def load(file: str) -> dict[str, str]:
    """The statements of ``sql/<file>.sql`` by the names in their ``-- name:`` lines."""
    text = resources.files(__package__).joinpath("sql", f"{file}.sql").read_text(encoding="utf-8")
    blocks: dict[str, str] = {}
    for block in text.split(_MARK)[1:]:
        name, _, body = block.partition("\n")
        lines = (line for line in body.splitlines() if line and not line.startswith("--"))
        blocks[name.strip()] = "\n".join(lines).rstrip(";")
    return blocks


class Bulk:
    """One statement in several sizes; ``{rows}`` in its text stands for the rows of a VALUES clause.

    Args:
        template: the SQL text.
        width: how many parameters a row has.
    """

    __slots__ = ("_statements", "_width")

    def __init__(self, template: str, width: int) -> None:
        row = f"({','.join('?' * width)})"
        self._width = width
        self._statements = [(size, template.replace("{rows}", ",".join([row] * size))) for size in _SIZES]

    def write(self, connection: sqlite3.Connection, flat: Sequence[Any]) -> None:
        """Run for all rows, given as one flat sequence of parameters."""
        for _ in self._run(connection, flat):
            pass

    def read(self, connection: sqlite3.Connection, flat: Sequence[Any]) -> Iterator[Any]:
        """The result rows for all parameter rows."""
        return chain.from_iterable(cursor.fetchall() for cursor in self._run(connection, flat))

    def _run(self, connection: sqlite3.Connection, flat: Sequence[Any]) -> Iterator[sqlite3.Cursor]:
        start, total = 0, len(flat)
        for size, statement in self._statements:
            step = size * self._width
            while total - start >= step:
                is_all = start == 0 and step == total
                yield connection.execute(statement, flat if is_all else flat[start : start + step])
                start += step
