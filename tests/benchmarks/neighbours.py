"""Runs the workload of each engine in a process of its own and compares them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ENGINES = ("dbos", "durable")


def measure(engine: str) -> dict[str, float]:
    """The figures of one engine, on a fresh file."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(HERE / f"workload_{engine}.py"), f"{folder}/bench.sqlite"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    results = {engine: measure(engine) for engine in ENGINES}
    base = results["dbos"]
    print(f"{'':<34}" + "".join(f"{engine:>12}" for engine in ENGINES) + f"{'ratio':>10}")
    for what in base:
        ours = results["durable"][what]
        print(f"{what:<34}{base[what]:>12,.0f}{ours:>12,.0f}{ours / base[what]:>9.1f}x")


if __name__ == "__main__":
    main()
