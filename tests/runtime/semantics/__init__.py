"""The behaviours that users rely on, by number, shown through a ``Runtime``."""
