"""Settings of the interpreter for a process that does little else than to serve runs.

The garbage collector: Python looks for unreachable cycles whenever 700 more objects were made than freed, and the more runs are
in memory, the more each look costs: a fifth of the time of a busy worker. But a turn and a step leave no cycles, only a run
that ends does. So it looks less often, and never at what was loaded before.

The switch interval: a thread that wants to run waits so long for one that does not let go. The store's writer lets go around
every statement and has to wait each time while the event loop is busy; the default of 5 ms is longer than its whole commit.

A library must not decide about the process of others: an application that hosts a ``Runtime`` may call this itself.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

_THRESHOLDS: Final = (10_000, 50, 50)
_SWITCH_SECONDS: Final = 0.0002


def tune_interpreter() -> None:
    """Set up this process for serving runs; changes settings of the whole process."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_SECONDS)
