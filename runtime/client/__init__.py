"""What callers do with runs: start, signal, query, update, answer, list; the handle of one run."""
