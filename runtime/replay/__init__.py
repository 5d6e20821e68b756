"""The deploy guard: the runs of a store replayed against the code as it is now, and nothing written.

selection   which runs: the unfinished ones, a sample, those of a workflow
reading     runs and histories out of a store, in bulk
guard       ``replay_store``: all of it, and what came of it
comparison  the same histories against another revision of the code
worktree    that revision's files, for as long as they are needed
"""

from runtime.replay.guard import GuardReport, replay_store
from runtime.replay.selection import Selection
from runtime.replay.transfer import export_run, import_runs

__all__ = ["GuardReport", "Selection", "export_run", "import_runs", "replay_store"]
