"""Exported runs out of files, for replaying them without a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from durable.errors import ConfigurationError
from durable.replay import Recording
from durable.replay.file import ExportedRun, read_runs


def load_file(path: str) -> list[ExportedRun]:
    """The runs of an exported file, checked by their hashes.

    Raises:
        ConfigurationError: it cannot be read, or is no such file.
        HistoryCorruptedError: it was altered.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8: {error}") from error
    return read_runs(text, path)


async def recordings_in(paths: Sequence[str]) -> AsyncIterator[list[Recording]]:
    """The recordings of files, file by file."""
    for path in paths:
        yield [run.recording for run in load_file(path)]
