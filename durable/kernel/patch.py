"""Two versions of the code side by side: which side a run is on (``ctx.patched``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.commands import MarkPatch
from durable.history import write_detail

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer


def is_patched(run: Replayer, patch: str) -> bool:
    """Whether the run takes the new side; it is asked for once and remembered."""
    known = run.patches.get(patch)
    if known is None:
        known = not run.is_replaying or run.issuer.is_recorded_patch(patch)
        if known:
            run.issuer.issue(MarkPatch(None, patch))
        run.patches[patch] = known
    return known


def deprecate_patch(run: Replayer, patch: str) -> None:
    """Accept a record of the patch, and leave one that later code may drop."""
    if patch not in run.patches and (not run.is_replaying or run.issuer.is_recorded_patch(patch)):
        run.issuer.issue(MarkPatch(None, patch, write_detail(deprecated=True)))
        run.patches[patch] = True
