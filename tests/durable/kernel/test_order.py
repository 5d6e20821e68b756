"""The same things happen in the same order in every process (L3, L4)."""

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROCESSES = 40


def orders_in_a_fresh_process(seed: int) -> dict[str, object]:
    script = Path(__file__).with_name("order_scenarios.py")
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    output = subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True).stdout
    return json.loads(output)


def test_every_process_gives_one_order():
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(orders_in_a_fresh_process, range(PROCESSES)))
    counts = {name: Counter(json.dumps(result[name]) for result in results) for name in results[0]}
    assert len(counts) == 15
    assert {name: len(orders) for name, orders in counts.items() if len(orders) > 1} == {}
