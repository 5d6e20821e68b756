"""What a worker publishes about its workflows, for senders without the code."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from pydantic_core import to_json

from durable.messages import Query, Update
from durable.workflow import WorkflowDefinition


def describe_workflow(definition: WorkflowDefinition[..., object], encryption: Sequence[str] = ()) -> str:
    """JSON text: name, version, documentation, queue, parameters, input and result schema, messages.

    Args:
        encryption: names of the codecs that encrypt what is stored of its runs.
    """
    messages = {}
    for message in definition.messages.values():
        entry: dict[str, object] = {"kind": message.kind, "schema": message.codec.json_schema()}
        if isinstance(message, Query | Update):
            entry["returns"] = message.result.json_schema()
        messages[message.name] = entry
    return to_json(
        {
            "name": definition.name,
            "version": definition.version,
            "doc": inspect.getdoc(definition.fn),
            "queue": definition.queue,
            "parameters": list(definition.arguments.parameters),
            "input": definition.arguments.json_schema(),
            "result": definition.result.json_schema(),
            "messages": messages,
            "encryption": list(encryption),
        }
    ).decode()
