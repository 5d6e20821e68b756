"""A recording as a file: one JSON document that a person can read, that needs nothing else, and that is checked by its hashes.

    {"format": "durable-recording", "version": 1, "exported": {...},
     "runs": [{"identity": {...}, "run": {...}, "history": [...], "blobs": {...}, ..., "sha256": "..."}]}

An event is one line. Its ``detail`` and ``payload`` are texts in a history, and its hash is made of those texts; they stand
here as JSON values where the value gives the same text again, and as ``detail_text`` or ``payload_text`` where it would not (a float that is written
otherwise, a NaN, which JSON does not have). Blobs are inlined, as text where they are UTF-8, else in base64.

When a file is read, every history is checked by its hash chain, every blob by its hash, and each run as a whole, with all that stands
beside its history, by ``sha256``. Whoever wants to forge a file can make the hashes anew: they tell damage and careless
edits, not who wrote it.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Final, NoReturn

from durable.duration import to_instant
from durable.errors import ConfigurationError, HistoryCorruptedError, StoreFormatError
from durable.history import Event, Fact, verify_chain
from durable.info import RunIdentity
from durable.replay.recording import Recording

FORMAT: Final = "durable-recording"
VERSION: Final = 1

_TEXTS: Final = ("detail", "payload")


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """One run of a file.

    Attributes:
        recording: what replay needs.
        about: what the store says of the run besides: status, times, who started it.
        children: ids, workflows and statuses of the runs that it started.
        attempts: the kept attempts of its steps.
        logs: its log lines.
    """

    recording: Recording
    about: Mapping[str, Any] = field(default_factory=dict)
    children: Sequence[Mapping[str, Any]] = ()
    attempts: Sequence[Mapping[str, Any]] = ()
    logs: Sequence[Mapping[str, Any]] = ()


# -- writing ----------------------------------------------------------------------------------------------


def write_runs(runs: Sequence[ExportedRun], exported: Mapping[str, Any]) -> str:
    """The text of a file.

    Args:
        runs: the first one is what the file is about.
        exported: when, and by which versions of what.
    """
    head = f'"format": "{FORMAT}",\n"version": {VERSION},\n"exported": {json.dumps(dict(exported))}'
    return f'{{{head},\n"runs": [\n{",".join(_render(_fields(run)) for run in runs)}]}}\n'


def _fields(run: ExportedRun) -> dict[str, Any]:
    recording = run.recording
    fields: dict[str, Any] = {
        "identity": asdict(recording.identity),
        "run": dict(run.about),
        "disclosed": recording.is_disclosed,
        "children": [dict(child) for child in run.children],
        "history": [_event_fields(event) for event in recording.events],
        "unread": [_fact_fields(fact) for fact in recording.unread],
        "blobs": {name: _blob_fields(data) for name, data in recording.blobs.items()},
        "attempts": [dict(attempt) for attempt in run.attempts],
        "logs": [dict(line) for line in run.logs],
    }
    return {**fields, "sha256": _digest(fields)}


def _render(fields: Mapping[str, Any]) -> str:
    """A run, with a line for each event, blob, attempt and log line."""
    parts = []
    for name, value in fields.items():
        if isinstance(value, list) and value:
            lines = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in value)
            parts.append(f'"{name}": [\n{lines}\n]')
        elif name == "blobs" and value:
            lines = ",\n".join(f'  "{key}": {json.dumps(item, ensure_ascii=False)}' for key, item in value.items())
            parts.append(f'"{name}": {{\n{lines}\n}}')
        else:
            parts.append(f'"{name}": {json.dumps(value, ensure_ascii=False)}')
    return "{" + ",\n".join(parts) + "}\n"


def _event_fields(event: Event) -> dict[str, Any]:
    fields = {
        "seq": event.seq,
        "batch": event.batch,
        "kind": str(event.kind),
        "at": to_instant(event.at_us).isoformat(),
    }
    fields |= {"at_us": event.at_us, "actor": event.actor}
    return {**fields, **_content(event), "hash": event.hash.hex()}


def _fact_fields(fact: Fact) -> dict[str, Any]:
    return {"kind": str(fact.kind), "actor": fact.actor, **_content(fact)}


def _content(one: Event | Fact) -> dict[str, Any]:
    own = {"command": one.command, "name": one.name}
    fields: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    for name in _TEXTS:
        text = getattr(one, name)
        if text is not None:
            is_exact, value = _as_value(text)
            fields[name if is_exact else f"{name}_text"] = value
    return fields


def _blob_fields(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _as_value(text: str) -> tuple[bool, Any]:
    """The value of a JSON text, if it gives the same text again; else the text."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if _as_text(value) == text:
            text.encode()
            return True, value
    except (ValueError, RecursionError):
        pass
    return False, text


def _as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _digest(fields: Mapping[str, Any]) -> str:
    """SHA-256 of a run without its own digest, whatever the layout of the file."""
    own = {name: value for name, value in fields.items() if name != "sha256"}
    text = json.dumps(own, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


# -- reading ----------------------------------------------------------------------------------------------


def read_runs(text: str, source: str) -> list[ExportedRun]:
    """The runs of a file, checked.

    Args:
        text: of the file.
        source: its name, for messages.

    Raises:
        ConfigurationError: it is no file of this kind.
        StoreFormatError: a newer version wrote it.
        HistoryCorruptedError: it was altered or damaged; names the event where that is one.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigurationError(f"{source} is no exported run; make one with: durable export ID --output FILE")
    if document.get("version") != VERSION:
        raise StoreFormatError(
            f"expected version {VERSION} of an exported run in {source}, got {document.get('version')!r}: use a newer durable"
        )
    try:
        return [_read_run(fields, source) for fields in document["runs"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{source} is no exported run: {type(error).__name__}: {error}") from error


def _read_run(fields: Mapping[str, Any], source: str) -> ExportedRun:
    identity = RunIdentity(**fields["identity"])
    events = [_read_event(item) for item in fields["history"]]
    try:
        verify_chain(events)
    except HistoryCorruptedError as error:
        raise HistoryCorruptedError(
            f"{source} was altered: {error.message} (run {identity.workflow_id}); ask for it again", path=source
        ) from error
    blobs = dict(_read_blobs(fields["blobs"], source))
    if fields.get("sha256") != _digest(fields):
        raise HistoryCorruptedError(
            f"{source} was altered: what stands beside the history of {identity.workflow_id} does not match its hash; "
            "ask for it again",
            path=source,
        )
    unread = [_read_fact(item) for item in fields["unread"]]
    recording = Recording(identity, events, blobs, unread, is_disclosed=bool(fields["disclosed"]))
    return ExportedRun(recording, fields["run"], fields["children"], fields["attempts"], fields["logs"])


def _read_event(fields: Mapping[str, Any]) -> Event:
    detail, payload = _read_texts(fields)
    return Event(
        fields["seq"], fields["batch"], fields["kind"], fields["at_us"], fields["actor"], fields.get("command"),
        fields.get("name"), detail, payload, bytes.fromhex(fields["hash"]),
    )  # fmt: skip


def _read_fact(fields: Mapping[str, Any]) -> Fact:
    detail, payload = _read_texts(fields)
    return Fact(fields["kind"], fields.get("command"), fields.get("name"), detail, payload, fields["actor"])


def _read_texts(fields: Mapping[str, Any]) -> list[str | None]:
    return [_as_text(fields[name]) if name in fields else fields.get(f"{name}_text") for name in _TEXTS]


def _read_blobs(fields: Mapping[str, Mapping[str, str]], source: str) -> Iterator[tuple[str, bytes]]:
    for name, one in fields.items():
        data = one["text"].encode() if "text" in one else b64decode(one["base64"], validate=True)
        if sha256(data).hexdigest() != name:
            raise HistoryCorruptedError(f"{source} was altered: the blob {name} does not match its hash", path=source)
        yield name, data
