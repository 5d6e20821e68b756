"""Invariants of replay over a corpus of workflow shapes."""
