"""What a test is told when the harness cannot go on. They are assertion errors: the test is wrong, or the workflow is."""

from __future__ import annotations


class UnstubbedStepError(AssertionError):
    """A step is neither stubbed nor allowed to run; the message has the lines to write."""


class IdleError(AssertionError):
    """The test waits for something that cannot happen any more; the message says what the run waits for."""
