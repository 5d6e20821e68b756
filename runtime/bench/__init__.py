"""``durable bench``: every budget that applies to the store, as figures and as ratios to the raw limit of the same store in the same run."""

from runtime.bench.main import main

__all__ = ["main"]
