"""``durable export`` and ``durable import``, and commands that take an exported file instead of a store."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import APP, Cli


@pytest.fixture
def waiting(cli: Cli, app: Path) -> str:
    cli("run", "app.py:deploy", "-i", "version=v1", "--id", "d1", "--no-ask")
    return "d1"


def test_export_writes_a_file_and_not_the_store(cli: Cli, folder: Path, waiting: str) -> None:
    store = folder / ".durable" / "durable.db"
    before = sha256(store.read_bytes()).digest()
    ran = cli("export", "d1", "--output", "run.json")
    assert (ran.code, ran.out) == (0, "wrote run.json; replay it with: durable replay --file run.json TARGET\n")
    assert sha256(store.read_bytes()).digest() == before
    assert json.loads(cli("export", "d1").out)["runs"][0]["identity"]["workflow_id"] == "d1"


def test_export_overwrites_nothing(cli: Cli, folder: Path, waiting: str) -> None:
    (folder / "run.json").write_text("mine")
    ran = cli("export", "d1", "-o", "run.json")
    assert (ran.code, "run.json exists already" in ran.err) == (2, True)
    assert (folder / "run.json").read_text() == "mine"
    assert cli("export", "d1", "-o", "none/run.json").code == 2
    assert cli("export", "nobody").code == 3


def test_import_makes_a_paused_copy_in_another_store(cli: Cli, waiting: str) -> None:
    cli("export", "d1", "-o", "run.json")
    ran = cli("import", "run.json", "--store", "sqlite:///other.db")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "imported d1 (deploy) as paused",
        "next: durable show d1 --store sqlite:///other.db",
    ]
    shown = cli("show", "d1", "--store", "sqlite:///other.db").out
    assert "imported from run.json, where it was waiting; no worker serves it" in shown
    assert "approval go (Deploy v1?)" in shown
    assert cli("history", "d1", "--verify", "--store", "sqlite:///other.db").code == 0
    assert cli("replay", "app.py", "--store", "sqlite:///other.db").code == 0
    again = cli("import", "run.json", "--store", "sqlite:///other.db", "--json")
    assert again.code == 6
    assert "is taken" in again.err
    data = cli("import", "run.json", "--store", "sqlite:///third.db", "--json").data
    assert [(run["workflow_id"], run["status"]) for run in data["runs"]] == [("d1", "paused")]


def test_tampered_file_is_refused_with_its_event(cli: Cli, folder: Path, waiting: str) -> None:
    cli("export", "d1", "-o", "run.json")
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('{"version": "v1"}', '{"version": "v2"}'))
    for command in (
        ["import", "run.json", "--store", "sqlite:///other.db"],
        ["replay", "app.py", "--file", "run.json"],
    ):
        ran = cli(*command)
        assert ran.code == 7
        assert "run.json was altered: event 1 does not match its hash" in ran.err
    assert not (folder / "other.db").exists()


def test_file_is_replayed_without_a_store(cli: Cli, folder: Path, waiting: str) -> None:
    cli("export", "d1", "-o", "run.json")
    shutil.rmtree(folder / ".durable")
    ran = cli("replay", "app.py", "--file", "run.json")
    assert ran.code == 0
    assert ran.out.startswith("✓ all go on with this code: 1 run with 2 events of 1 file")


def test_broken_file_run_is_told(cli: Cli, write, waiting: str) -> None:
    cli("export", "d1", "-o", "run.json")
    write("app.py", APP.replace('key="go"', 'key="went"'))
    ran = cli("replay", "app.py", "--file", "run.json", "--json")
    assert (ran.code, ran.data["source"]) == (1, "1 file")
    assert ran.data["findings"][0]["requested"] == "question('went')"


@pytest.mark.parametrize("text", [b"{", b'{"format": "x"}', b"\xff\xfe"])
def test_what_is_no_exported_run_is_refused(cli: Cli, folder: Path, app: Path, text: bytes) -> None:
    (folder / "run.json").write_bytes(text)
    assert cli("import", "run.json").code == 2
    assert cli("replay", "app.py", "--file", "run.json").code == 2


def test_decrypting_needs_the_codecs(cli: Cli, folder: Path, app: Path) -> None:
    (folder / "keys.py").write_text("from durable.codec import AesGcmCodec\ncodecs = [AesGcmCodec(b'k' * 32)]\n")
    keys = ["--codecs", "keys.py:codecs"]
    cli("run", "app.py:deploy", "-i", "version=secret-version", "--id", "d1", "--no-ask", *keys)
    assert "secret-version" not in json.dumps(json.loads(cli("export", "d1").out)["runs"][0]["history"][0])
    assert '"version": "secret-version"' in cli("export", "d1", "--decrypt", *keys).out
    ran = cli("export", "d1", "--decrypt")
    assert (ran.code, "--codecs MODULE:NAME" in ran.err) == (2, True)
    cli("export", "d1", "-o", "sealed.json")
    assert cli("replay", "app.py", "--file", "sealed.json").code == 1
    assert cli("replay", "app.py", "--file", "sealed.json", *keys).code == 0
    cli("export", "d1", "--decrypt", "-o", "plain.json", *keys)
    assert cli("replay", "app.py", "--file", "plain.json").code == 0
