"""Golden histories: what runs left under each behaviour version of the kernel, kept for ever (rule K9).

``python -m replay.golden``, in ``tests``, records every shape of the corpus that the set of the current version lacks. It
never writes over a history that is there. When ``test_golden`` says that one is not replayed any more, the kernel
schedules otherwise than it did, and runs that are under way would get stuck: either that is undone, or ``KERNEL_VERSION``
goes up, the old behaviour stays for the runs that began under it, and the new version gets a set of its own.

A set is data: times, ids and seeds are those of the day on which it was recorded. Paths, which tracebacks hold, are
relative to the repository, and the chain of hashes is made anew after that.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from durable.history import KERNEL_VERSION, Event, Recorder, split_batches
from durable.info import RunIdentity
from durable.registry import Registry
from replay.corpus import SHAPES, Recording, record

SETS = Path(__file__).with_name("golden")
ROOT = Path(__file__).parents[2]
AUTHOR = "author"


def folder_of(version: int) -> Path:
    """Where the histories of one behaviour version are."""
    return SETS / f"v{version}"


def versions() -> list[int]:
    """The behaviour versions of which there are histories."""
    return sorted(int(folder.name.removeprefix("v")) for folder in SETS.iterdir())


def read(version: int, name: str) -> list[Recording]:
    """The recordings of a shape, the first run first."""
    shape = SHAPES[name]
    registry = Registry([shape.definition, *shape.others])
    return [
        Recording(
            registry.workflow(run["identity"]["workflow"]),
            RunIdentity(**run["identity"]),
            registry,
            [Event(*row[:-1], bytes.fromhex(row[-1])) for row in run["history"]],
            {digest: b64decode(data) for digest, data in run["blobs"].items()},
        )
        for run in json.loads((folder_of(version) / f"{name}.json").read_text(encoding="utf-8"))
    ]


def write(name: str) -> None:
    """Record a shape, and keep what its runs left."""
    runs = [_render(recording) for recording in record(name)]
    text = "[\n" + ",\n".join(runs) + "\n]\n"
    (folder_of(KERNEL_VERSION) / f"{name}.json").write_text(text, encoding="utf-8")


def _render(recording: Recording) -> str:
    """A run in JSON, an event a line, so that a difference between two sets can be read."""
    identity = json.dumps(asdict(recording.identity))
    blobs = json.dumps({digest: b64encode(data).decode() for digest, data in recording.blobs.items()})
    events = ",\n".join(json.dumps([*event[:-1], event.hash.hex()]) for event in _without_paths(recording))
    return f'{{"identity": {identity},\n"blobs": {blobs},\n"history": [\n{events}\n]}}'


def _without_paths(recording: Recording) -> Iterator[Event]:
    recorder = Recorder()
    for batch in split_batches(recording.history):
        recorder.begin_batch(batch[0].at_us)
        for event in batch:
            payload = event.payload and event.payload.replace(f"{ROOT}{os.sep}", "")
            yield recorder.append(event.kind, event.actor, event.command, event.name, event.detail, payload)


def main() -> None:
    """Record what the set of the current version lacks."""
    for variable in ("LOGNAME", "USER"):
        os.environ[variable] = AUTHOR
    folder = folder_of(KERNEL_VERSION)
    folder.mkdir(parents=True, exist_ok=True)
    for name in SHAPES:
        if not (folder / f"{name}.json").exists():
            write(name)


if __name__ == "__main__":
    main()
