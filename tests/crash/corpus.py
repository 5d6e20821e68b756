"""The corpus: one shape for each way in which a run can depend on what a crash might lose."""

from __future__ import annotations

from typing import Final

from crash import dialogues, flows
from crash.shape import Shape

SHAPES: Final = {
    shape.workflow.name: shape
    for shape in (
        Shape(flows.sequential, (4,)),
        Shape(flows.parallel),
        Shape(flows.retrying),
        Shape(flows.limited),
        Shape(flows.timers),
        Shape(flows.overdue),
        Shape(flows.at_most_once),
        Shape(flows.transactional),
        Shape(flows.rolled_back),
        Shape(flows.outspoken),
        Shape(flows.routed, queues=("elsewhere",)),
        Shape(dialogues.signals, talk=dialogues.send_signals),
        Shape(dialogues.updates, talk=dialogues.send_updates),
        Shape(dialogues.continued, (0, []), talk=dialogues.send_over),
        Shape(dialogues.asking, talk=dialogues.answer_all),
        Shape(dialogues.handed_over, talk=dialogues.complete_outside),
        Shape(dialogues.cancelled, talk=dialogues.cancel),
        Shape(dialogues.paused, talk=dialogues.pause_and_resume),
        Shape(dialogues.terminated, others=(dialogues.listener,), talk=dialogues.terminate),
        Shape(dialogues.retried, talk=dialogues.mend_and_retry),
        Shape(dialogues.parent, others=(dialogues.listener, dialogues.maker, dialogues.breaker)),
        Shape(dialogues.family, others=(dialogues.maker,)),
    )
}
"""By name of the workflow."""
