"""A disk that remembers in what order it was written, and what would be left of it after a power cut.

``Disk`` is a SQLite VFS in memory that keeps a log of every write, truncation, sync and deletion. A power cut after any
entry of that log leaves what was synced before; of what was not, every write may be there, be missing, or be torn:
within a sector, or sector by sector, as disks reorder them. One run of a workload so gives every power cut in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import apsw

SECTOR = 512


class Entry(NamedTuple):
    """One line of the disk's log: ``write``, ``truncate``, ``sync``, ``delete``, or a ``mark`` of the workload."""

    what: str
    name: str
    offset: int = 0
    data: bytes = b""


class Disk(apsw.VFS):
    """A VFS in memory.

    Attributes:
        log: everything that was done to it, in order.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.log: list[Entry] = []
        self.files: dict[str, bytearray] = {}
        super().__init__(name, "")

    def mark(self, what: str) -> None:
        """Note where the workload is."""
        self.log.append(Entry("mark", what))

    def xOpen(self, name: Any, flags: list[int]) -> File:
        text = name if isinstance(name, str) else name.filename()
        self.files.setdefault(text, bytearray())
        return File(self, text)

    def xDelete(self, name: str, syncdir: bool) -> None:
        del self.files[name]
        self.log.append(Entry("delete", name, int(syncdir)))

    def xAccess(self, name: str, flags: int) -> bool:
        return name in self.files

    def xFullPathname(self, name: str) -> str:
        return name


class File:
    """An open file of a ``Disk``."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.disk = disk
        self.name = name

    @property
    def content(self) -> bytearray:
        return self.disk.files[self.name]

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self.content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        _write(self.content, offset, data)
        self.disk.log.append(Entry("write", self.name, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        del self.content[size:]
        self.disk.log.append(Entry("truncate", self.name, size))

    def xSync(self, flags: int) -> None:
        self.disk.log.append(Entry("sync", self.name))

    def xFileSize(self) -> int:
        return len(self.content)

    def xSectorSize(self) -> int:
        return SECTOR

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE  # as SQLite assumes of every disk

    def xLock(self, level: int) -> None: ...

    def xUnlock(self, level: int) -> None: ...

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xClose(self) -> None: ...


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class _Platter:
    """One file as the disk keeps it: what is safe, and what is not yet."""

    def __init__(self) -> None:
        self.safe: bytearray | None = None
        self.unsafe: list[Entry] = []

    def sync(self) -> None:
        self.safe = self.safe or bytearray()
        for entry in self.unsafe:
            _apply(self.safe, entry)
        self.unsafe.clear()

    def survivor(self, random: Random) -> bytes | None:
        if self.safe is None and random.random() < 0.5:
            return None
        content = bytearray(self.safe or b"")
        for entry in self.unsafe:
            for fragment in _what_arrived(entry, random):
                _apply(content, fragment)
        return bytes(content)


def _apply(content: bytearray, entry: Entry) -> None:
    if entry.what == "write":
        _write(content, entry.offset, entry.data)
    elif entry.offset < len(content):
        del content[entry.offset :]


def _what_arrived(entry: Entry, random: Random) -> list[Entry]:
    chance = random.random()
    if chance < 0.35 or entry.what == "truncate":
        return [entry] if chance < 0.5 else []
    if chance < 0.6:
        return []
    if chance < 0.8:
        return [entry._replace(data=entry.data[: random.randrange(len(entry.data))])]
    return [
        Entry("write", entry.name, entry.offset + start, entry.data[start : start + SECTOR])
        for start in range(0, len(entry.data), SECTOR)
        if random.random() < 0.5
    ]


def after_power_cut(log: Sequence[Entry], random: Random) -> dict[str, bytes]:
    """The files that are there after the power was cut at the end of this log."""
    platters: dict[str, _Platter] = {}
    deleted: dict[str, _Platter] = {}
    for entry in log:
        if entry.what == "mark":
            continue
        platter = platters.setdefault(entry.name, _Platter())
        if entry.what == "sync":
            if platter.safe is None:
                deleted.clear()  # SQLite syncs the directory with the first sync of a new log or journal
            platter.sync()
        elif entry.what == "delete":
            deleted[entry.name] = platters.pop(entry.name)
            if entry.offset:
                deleted.clear()
        else:
            platter.unsafe.append(entry)
    if random.random() < 0.5:
        platters = deleted | platters
    survivors = {name: platter.survivor(random) for name, platter in platters.items()}
    return {name: content for name, content in survivors.items() if content is not None}
