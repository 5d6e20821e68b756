"""Starting runs: from a definition, a bound call, or a name without the code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from durable.codec import Envelope, ValueCodec, input_digest, value_codec
from durable.codec.schema import check_schema
from durable.duration import to_us
from durable.errors import DefinitionError, EncodeError
from durable.history import EventKind, Fact
from durable.messages import Signal
from durable.workflow import StartOptions, WorkflowCall, WorkflowDefinition
from runtime.client.arrangement import arrange
from runtime.client.message import check_message, signal_row
from runtime.identifier import new_run_id
from runtime.store.row import InboxRow, NewRun, UpdateRow


@dataclass(frozen=True, slots=True)
class WorkflowReference:
    """A workflow known by name only, with the options of a start.

    Attributes:
        name: of the definition.
        start: id, conflict policy, delay, queue.
    """

    name: str
    start: StartOptions = field(default_factory=StartOptions)


WithSignal = tuple[Signal[Any], Any] | tuple[Signal[Any], Any, str]
"""A signal and its value, and if the start may be repeated, the sender's own id of the signal."""

Startable = WorkflowDefinition[..., Any] | WorkflowCall[Any] | WorkflowReference | str


@dataclass(frozen=True, slots=True)
class Start:
    """Everything that a start needs, encoded.

    Attributes:
        new: the run to create.
        result: the codec of the result; Any where the code is unknown.
        update: the pending update of an update-with-start.
    """

    new: NewRun
    result: ValueCodec
    update: UpdateRow | None = None


def prepare_start(
    what: Startable,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    envelope: Envelope,
    published: Mapping[str, Any],
    actor: str,
    now_us: int,
    with_signal: WithSignal | None = None,
) -> Start:
    """Encode a start.

    Args:
        published: what the store knows of the workflow (parameter names, input schema); empty if nothing.
        with_signal: delivered with the start, also to a run that it attaches to.

    Raises:
        EncodeError: an argument does not fit.
        MessageRejectedError: the input does not fit the published schema.
        DefinitionError: it is nothing that can be started.
    """
    if isinstance(what, WorkflowCall):
        if args or kwargs:
            raise DefinitionError("the call is bound already: pass its arguments to bind(...)")
        return prepare_start(
            what.definition, what.args, what.kwargs, envelope=envelope, published=published, actor=actor, now_us=now_us,
            with_signal=with_signal,
        )  # fmt: skip
    if isinstance(what, str):
        what = WorkflowReference(what)
    if isinstance(what, WorkflowDefinition):
        plain = what.arguments.encode(args, kwargs)
        secret, result, queue, options = what.arguments.has_secrets, what.result, what.queue, what.start_options
    elif isinstance(what, WorkflowReference):
        plain = _encode_named(what.name, args, kwargs, published)
        secret, result, options = False, value_codec(Any), what.start
        queue = str(published.get("queue", "default"))
    else:
        raise DefinitionError(f"expected a workflow, a bound call or a name, got {what!r}")
    run_id = new_run_id()
    workflow_id = options.id if options.id is not None else f"{what.name}-{run_id[-12:]}"
    payload = envelope.seal(plain, secret=secret)
    delay_us = to_us(options.delay, "delay") if options.delay is not None else 0
    messages: Sequence[InboxRow] = ()
    if with_signal is not None:
        signal, value, message_id = with_signal if len(with_signal) == 3 else (*with_signal, None)
        check_message(published, workflow_id, "signal", signal, value)
        messages = [signal_row(workflow_id, None, signal, value, message_id, envelope, actor, now_us)]
    new = NewRun(
        run_id=run_id,
        workflow_id=workflow_id,
        workflow=what.name,
        queue=options.queue or queue,
        actor=actor,
        created_at_us=now_us,
        ready_at_us=now_us + delay_us,
        origin_id=run_id,
        first_run_id=run_id,
        input_digest=(envelope.digest(plain) if secret else None) or input_digest(plain),
        start=Fact(EventKind.RUN_STARTED, payload=payload, actor=actor),
        messages=messages,
        on_conflict=options.on_conflict or "attach",
    )
    return Start(new, result)


def _encode_named(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], published: Mapping[str, Any]) -> str:
    parameters = published.get("parameters")
    values: Any = kwargs
    if isinstance(parameters, list) and isinstance(published.get("input"), dict):
        values = arrange(name, args, kwargs, parameters, published["input"])
    elif args and kwargs:
        raise EncodeError(
            f"workflow {name!r} is not known here: pass its arguments either by position or by keyword, not both"
        )
    elif args:
        values = list(args)
    schema = published.get("input")
    if isinstance(schema, dict) and isinstance(values, dict):
        try:
            plain_values = from_json(to_json(values))
        except PydanticSerializationError as error:
            raise EncodeError(f"the input of workflow {name!r} is not JSON: {error}") from error
        check_schema(plain_values, schema, f"the input of workflow {name!r}")
    try:
        return to_json(values, inf_nan_mode="constants").decode()
    except PydanticSerializationError as error:
        raise EncodeError(f"the input of workflow {name!r} is not JSON: {error}") from error
