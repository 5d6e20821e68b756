"""Crash tests: a process is killed with SIGKILL around every commit, and the run ends as without it (semantics 43)."""
