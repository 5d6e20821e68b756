"""One source file: its syntax tree, or why there is none."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from pathlib import PurePath

from durable.lint.finding import Finding


class Source:
    """A file that was parsed.

    Attributes:
        path: identifies it.
        shown: the path as it is told.
        text: the source.
        tree: its syntax tree.
    """

    __slots__ = ("_lines", "path", "shown", "text", "tree")

    def __init__(self, path: PurePath, shown: str, text: str, tree: ast.Module) -> None:
        self.path = path
        self.shown = shown
        self.text = text
        self.tree = tree
        self._lines: list[str] | None = None

    def column_of(self, line: int, offset: int) -> int:
        """The column, from 1, of a byte offset in the UTF-8 of a line, as syntax trees count."""
        if self._lines is None:
            self._lines = self.text.splitlines()
        if self.text.isascii() or not 0 < line <= len(self._lines):
            return offset + 1
        return len(self._lines[line - 1].encode()[:offset].decode(errors="replace")) + 1


def parse(path: PurePath, shown: str, content: bytes) -> Source | Finding:
    """Parse a file with the grammar of this Python; what cannot be parsed is a finding."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = io.TextIOWrapper(io.BytesIO(content), encoding).read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content, filename=shown)
    except SyntaxError as error:
        line, column = error.lineno or 1, error.offset or 1
        end_line, end_column = error.end_lineno or line, error.end_offset or column
        is_span = (end_line, end_column) > (line, column)
        end = (end_line, end_column) if is_span else (line, column + 1)
        return Finding(shown, line, max(1, column), *end, "DURL901", f"the file cannot be parsed: {error.msg}", _REMEDY)
    except (UnicodeDecodeError, ValueError) as error:
        return Finding(shown, 1, 1, 1, 2, "DURL901", f"the file cannot be parsed: {error}", _REMEDY)
    except (RecursionError, MemoryError):
        return Finding(shown, 1, 1, 1, 2, "DURL901", "the file cannot be parsed: it is nested too deeply", _REMEDY)
    return Source(path, shown, text, tree)


_REMEDY = "mend it first; nothing in it was checked"
