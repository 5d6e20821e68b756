"""Where sources come from: the seam between the linter, which is pure, and files.

This is the one place of the package that reads a disk. What is to be checked elsewhere (an editor's buffer, a
string in a test) is given to the linter as another ``Files``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Final, Protocol

from durable.errors import ConfigurationError

_NOT_OURS: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


class Files(Protocol):
    """Python source files by path."""

    def find(self, paths: Iterable[str]) -> list[PurePath]:
        """The files to check: each path that is a file, and every ``.py`` file below each that is a directory.

        Raises:
            ConfigurationError: a path does not exist, or cannot be read.
        """
        ...

    def read(self, path: PurePath) -> bytes:
        """The content of a file.

        Raises:
            ConfigurationError: it cannot be read.
        """
        ...

    def has(self, path: PurePath) -> bool:
        """Tell whether there is such a file."""
        ...

    def shown(self, path: PurePath) -> str:
        """The path as people and programs are told it."""
        ...


class Disk:
    """The files of this machine."""

    def __init__(self) -> None:
        self._here = Path.cwd()

    def find(self, paths: Iterable[str]) -> list[PurePath]:
        """Directories are searched without hidden ones, virtual environments, caches and installed packages."""
        found: dict[PurePath, None] = {}
        for given in paths:
            path = Path(given)
            try:
                if path.is_dir():
                    found.update(dict.fromkeys(_below(path.resolve())))
                elif path.exists():
                    found[path.resolve()] = None
                else:
                    raise ConfigurationError(f"there is no file or directory {given}")
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"{given} cannot be read: {error}") from error
        return list(found)

    def read(self, path: PurePath) -> bytes:
        """Read it from the disk."""
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{self.shown(path)} cannot be read: {error.strerror}") from error

    def has(self, path: PurePath) -> bool:
        """Ask the disk."""
        try:
            return Path(path).is_file()
        except OSError:
            return False

    def shown(self, path: PurePath) -> str:
        """From the working directory, where the file lies below it."""
        return (path.relative_to(self._here) if path.is_relative_to(self._here) else path).as_posix()


def _below(folder: Path) -> Iterator[Path]:
    inner = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            is_ours = not entry.name.startswith(".") and entry.name not in _NOT_OURS
            if is_ours and not entry.is_symlink() and not (entry / "pyvenv.cfg").exists():
                inner.append(entry)
        elif entry.suffix == ".py" and entry.is_file():
            yield entry
    for entry in inner:
        yield from _below(entry)


class Texts:
    """Sources in memory.

    Args:
        texts: source by path, like ``{"shop/deploy.py": "..."}``.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = {PurePath("/", path): text for path, text in texts.items()}

    def find(self, paths: Iterable[str]) -> list[PurePath]:
        """The texts at or below these paths."""
        wanted = [PurePath("/", path) for path in paths]
        return [path for path in self._texts if any(path.is_relative_to(given) for given in wanted)]

    def read(self, path: PurePath) -> bytes:
        """The text as bytes."""
        return self._texts[path].encode("utf-8", "surrogatepass")

    def has(self, path: PurePath) -> bool:
        """Whether there is a text of this path."""
        return path in self._texts

    def shown(self, path: PurePath) -> str:
        """The path as it was given."""
        return path.relative_to("/").as_posix()
