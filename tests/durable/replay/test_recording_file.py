"""A recording as a file: the same again when it is read, readable, and refused when it was altered."""

from __future__ import annotations

import json
import re
from hashlib import sha256

import pytest
from deployment import Life, code_of, registry_of

from durable.codec import AesGcmCodec, Envelope, ZlibCodec
from durable.errors import ConfigurationError, HistoryCorruptedError, StoreFormatError
from durable.history import Event, EventKind, Fact, Recorder, verify_chain
from durable.info import RunIdentity
from durable.replay import Recording, replay_recording
from durable.replay.disclosure import disclose
from durable.replay.file import ExportedRun, read_runs, write_runs

SOURCE = """
undone = []

@step
async def keep(secret: Secret[str], note: str) -> Secret[str]:
    return secret

@step
async def undo(value: Secret[str]) -> None:
    pass

@workflow(messages=[Signal("go", str)])
async def buy(ctx: Context, note: str) -> str:
    await ctx.step(keep.options(compensate=undo), Secret("word"), note)
    ctx.publish("state", {"note": note})
    return await ctx.wait_signal(Signal("go", str))
"""
KEY = AesGcmCodec(b"k" * 32)
IDENTITY = RunIdentity("w", "r", "flow", "r", "r")


def written(*recordings: Recording, **fields) -> str:
    return write_runs([ExportedRun(recording, **fields) for recording in recordings], {"at": "now"})


def back(text: str) -> Recording:
    return read_runs(text, "run.json")[0].recording


def history_of(*payloads: str | None, detail: str | None = None) -> list[Event]:
    recorder = Recorder()
    recorder.begin_batch(1_000_000)
    return [recorder.append(EventKind.SIGNAL_RECEIVED, "user:ann", None, "go", detail, payload) for payload in payloads]


@pytest.mark.parametrize(
    "plain",
    [
        "null", "1", '"text"', '{"a":[1,2.5,true]}', "1e16", "1E+2", "1.0", "-0.0", "NaN", "[Infinity]", '{"a":1,"a":2}',
        r'"\u00e9"', '"é"', r'"\ud800"', "1" * 5000, "[" * 2000 + "]" * 2000, '{"b":1, "a":2}', '"\\u0000"', '""',
    ],
)  # fmt: skip
def test_texts_come_back_to_the_letter(plain: str):
    events = history_of('{"v":1,"data":' + plain + "}", detail='{"a":' + ("1" if len(plain) > 99 else plain) + "}")
    text = written(Recording(IDENTITY, events))
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert back(text).events == events


def test_plain_values_are_readable_in_the_file():
    text = written(Recording(IDENTITY, history_of('{"v":1,"data":{"city":"Köln"}}')))
    [line] = [line for line in text.splitlines() if '"seq": 1' in line]
    assert '"payload": {"v": 1, "data": {"city": "Köln"}}' in line
    assert '"at": "1970-01-01T00:00:01+00:00"' in line


def test_everything_of_a_run_comes_back():
    unread = [Fact(EventKind.SIGNAL_RECEIVED, 3, "go", '{"message_id":"m"}', '{"v":1,"data":1}', "user:bob")]
    blobs = {sha256(data).hexdigest(): data for data in (b"text", b"\xff\x00")}
    recording = Recording(IDENTITY, history_of(None), blobs, unread, is_disclosed=True)
    [run] = read_runs(
        written(
            recording, about={"status": "waiting"}, children=[{"run_id": "c"}], attempts=[{"a": 1}], logs=[{"b": 2}]
        ),
        "run.json",
    )
    assert run.recording == recording
    assert (run.about, run.children, run.attempts, run.logs) == (
        {"status": "waiting"}, [{"run_id": "c"}], [{"a": 1}], [{"b": 2}],
    )  # fmt: skip


def test_several_runs_make_one_file():
    other = Recording(RunIdentity("v", "q", "flow", "q", "q"), history_of("1"))
    runs = read_runs(written(Recording(IDENTITY, history_of("2")), other), "run.json")
    assert [run.recording.identity.workflow_id for run in runs] == ["w", "v"]


# -- altered ----------------------------------------------------------------------------------------------


def lived() -> str:
    life = Life(code_of(SOURCE), "buy", "a note" * 10_000, codecs=[KEY])
    return written(life.recording, about={"status": "waiting"})


def test_altered_event_is_named():
    text = lived()
    altered = text.replace('"seq": 3, "batch": 2', '"seq": 3, "batch": 3')
    assert altered != text
    with pytest.raises(
        HistoryCorruptedError, match=r"run.json was altered: event 3 does not match its hash.*\(run w-1\)"
    ):
        read_runs(altered, "run.json")


def test_event_that_was_left_out_is_named():
    lines = [line for line in lived().splitlines() if '"seq": 2,' not in line]
    with pytest.raises(HistoryCorruptedError, match="expected event 2, got 3"):
        read_runs("\n".join(lines), "run.json")


def test_what_stands_beside_the_history_is_checked_as_well():
    for before, after in (('"status": "waiting"', '"status": "failed"'), ('"workflow": "buy"', '"workflow": "sell"')):
        with pytest.raises(HistoryCorruptedError, match="what stands beside the history of w-1"):
            read_runs(lived().replace(before, after), "run.json")


def test_altered_blob_is_named():
    text = lived()
    name = re.search(r'^  "([0-9a-f]{64})": \{"base64": "(....)', text, re.MULTILINE)
    with pytest.raises(HistoryCorruptedError, match=f"the blob {name[1]} does not match its hash"):
        read_runs(text.replace(f'"base64": "{name[2]}', '"base64": "AAAA'), "run.json")


def test_layout_of_the_file_does_not_matter():
    text = lived()
    assert read_runs(json.dumps(json.loads(text), indent=4), "x") == read_runs(text, "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "is no exported run; make one with: durable export"),
        ('{"format": "other"}', "is no exported run"),
        ('{"format": "durable-recording", "version": 1}', "KeyError"),
        ('{"format": "durable-recording", "version": 1, "runs": [3]}', "TypeError"),
        ('{"format": "durable-recording", "version": 1, "runs": [{"identity": {"a": 1}}]}', "TypeError"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_such_file_is_refused(text: str, words: str):
    with pytest.raises(ConfigurationError, match=words):
        read_runs(text, "run.json")


def test_file_of_a_newer_version_is_refused():
    with pytest.raises(StoreFormatError, match="use a newer durable"):
        read_runs('{"format": "durable-recording", "version": 2, "runs": []}', "run.json")


# -- codecs -----------------------------------------------------------------------------------------------


def test_payloads_are_kept_as_they_are_stored_and_need_their_key():
    life = Life(code_of(SOURCE), "buy", "note", codecs=[ZlibCodec(), KEY])
    text = written(life.recording)
    assert "word" not in text
    recording = back(text)
    assert replay_recording(recording, life.registry, codecs=[ZlibCodec(), KEY]).ok
    assert not replay_recording(recording, life.registry).ok


def test_disclosed_recording_replays_without_the_key_and_is_chained_anew():
    life = Life(code_of(SOURCE), "buy", "long " * 20_000, codecs=[ZlibCodec(), KEY])
    plain = disclose(life.recording, life.envelope)
    verify_chain(plain.events)
    assert [event[:7] for event in plain.events] == [event[:7] for event in life.events]
    text = written(plain)
    assert r"{\"secret\":\"word\"," in text
    recording = back(text)
    assert (recording.is_disclosed, recording.blobs) == (True, plain.blobs)
    assert replay_recording(recording, life.registry).ok
    assert replay_recording(recording, life.registry, codecs=[KEY]).ok
    changed = code_of(SOURCE.replace('Secret("word")', 'Secret("other")'))
    assert not replay_recording(recording, registry_of(changed)).ok


def test_start_that_carries_messages_and_compensations_is_disclosed_whole():
    envelope = Envelope([KEY])
    detail = json.dumps(
        {
            "seed": "1",
            "messages": [["go", envelope.seal('"now"'), "m1", "user:ann"], ["stop", None, "m2", "user:ann"]],
            "compensations": [
                {
                    "undoes": 1,
                    "step": "undo",
                    "arguments": envelope.seal('{"value":"word"}', secret=True),
                    "operation": "keep",
                }
            ],
        }
    )
    events = [history_of(envelope.seal("{}"), detail=detail)[0]]
    unread = [Fact(EventKind.SIGNAL_RECEIVED, None, "go", None, envelope.seal("1")), Fact(EventKind.CANCEL_REQUESTED)]
    plain = disclose(Recording(IDENTITY, events, unread=unread), envelope)
    fields = plain.events[0].details
    assert [entry[1] for entry in fields["messages"]] == ['{"v":1,"data":"now"}', None]
    assert fields["compensations"][0]["arguments"] == '{"v":1,"data":{"value":"word"}}'
    assert fields["seed"] == "1"
    assert [fact.payload for fact in plain.unread] == ['{"v":1,"data":1}', None]


def test_disclosing_needs_the_key():
    life = Life(code_of(SOURCE), "buy", "note", codecs=[KEY])
    with pytest.raises(ConfigurationError, match="codec 'aes-gcm'"):
        disclose(life.recording, Envelope())
