"""The corpus: one shape for each way in which a run can depend on what a crash might lose."""

from __future__ import annotations

from typing import Final

from crash import dialogues, flows
from crash.shape import Shape

SHAPES: Final = {
    shape.workflow.name: shape
    for shape in (
        Shape(flows.sequential, "['STEP 0', 'STEP 1', 'STEP 2', 'STEP 3']", arguments=(4,)),
        Shape(flows.parallel, "[['GATHER 0', 'GATHER 1', 'GATHER 2'], ['TASK 0', 'TASK 1'], ['refused']]"),
        Shape(flows.retrying, "[4, 'later', 2]"),
        Shape(flows.limited, "[3, 'timed out', 'lost patience', 'AFTER']"),
        Shape(flows.timers, "['AFTER A SLEEP', 'WITHIN ITS LIMIT', 'long enough']"),
        Shape(flows.overdue, "RunTimeoutError"),
        Shape(flows.at_most_once, "['paid', 'paid', 'paid']"),
        Shape(flows.transactional, "[10, 30, 60]"),
        Shape(flows.rolled_back, "RunFailedError: no tickets"),
        Shape(flows.outspoken, "150000"),
        Shape(flows.routed, "['routed', 'routed and failing', 'paid', 'HERE AGAIN']", queues=("elsewhere",)),
        Shape(dialogues.signals, "['first', 'COUNT 1', 'last']", talk=dialogues.send_signals),
        Shape(dialogues.updates, "12", talk=dialogues.send_updates),
        Shape(dialogues.continued, "['one', 'two', 'spare']", arguments=(0, []), talk=dialogues.send_over),
        Shape(dialogues.asking, "['ok', 7, 'user:carol']", talk=dialogues.answer_all),
        Shape(dialogues.handed_over, "7", talk=dialogues.complete_outside),
        Shape(dialogues.cancelled, "RunCancelledError", talk=dialogues.cancel),
        Shape(dialogues.paused, "'HELD'", talk=dialogues.pause_and_resume),
        Shape(dialogues.terminated, "RunTerminatedError", others=(dialogues.listener,), talk=dialogues.terminate),
        Shape(dialogues.retried, "['BEFORE', 'mended', 'AFTER']", talk=dialogues.mend_and_retry),
        Shape(
            dialogues.parent,
            "['MADE BY A CHILD', 'broken', 'TOLD BY THE PARENT', 'cancelled', 'nobody there']",
            others=(dialogues.listener, dialogues.maker, dialogues.breaker),
        ),
        Shape(dialogues.family, "['CHILD 0', 'CHILD 1', 'CHILD 2']", others=(dialogues.maker,)),
    )
}
"""By name of the workflow."""
