"""Another process, with other hashes and other addresses: it replays histories that it is given, a line each."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from durable.history import Event
from kernel_model.snapshot import forget, replay, snapshot


class Elsewhere:
    """A child process that replays."""

    def __enter__(self) -> Self:
        here = Path(__file__)
        path = os.pathsep.join([str(here.parent.parent), *sys.path])
        seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-m", "kernel_model.elsewhere"]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def snapshot(self, history: Sequence[Event]) -> Any:
        """What a history leads to over there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([[*event[:-1], event.hash.hex()] for event in history]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def main() -> None:
    """Replay every history of standard input."""
    noise = [object() for _ in range(random.randrange(100_000))]
    for line in sys.stdin:
        replayer = replay([Event(*row[:-1], bytes.fromhex(row[-1])) for row in json.loads(line)])
        print(json.dumps(snapshot(replayer)), flush=True)
        forget(replayer)
    del noise


if __name__ == "__main__":
    main()
