"""The explorer: one workflow under every crash, fault, cancellation and order that matters."""

from durable.testing.explorer.exploration import explore
from durable.testing.explorer.report import ExplorationError, Finding, FindingKind, Report

__all__ = ["ExplorationError", "Finding", "FindingKind", "Report", "explore"]
