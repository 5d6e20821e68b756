"""What makes the fingerprint of a worker another one, and what does not (rule L9)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from durable.codec import AesGcmCodec, Envelope, ZlibCodec
from durable.registry import Registry
from runtime.worker.fingerprint import code_fingerprints

APP = """
from durable import Context, workflow
from {helper} import load

@workflow
async def loads(ctx: Context) -> int:
    return load()
"""
NAMES = ("fingerprinted_app", "fingerprinted_helper")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an app and a helper that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fingerprinted_app.py").write_text(APP.format(helper="fingerprinted_helper"))
    (tmp_path / "fingerprinted_helper.py").write_text("def load() -> int:\n    return 7\n")
    yield tmp_path
    forget()


def forget() -> None:
    for name in NAMES:
        sys.modules.pop(name, None)
    invalidate_caches()


def fingerprint(*codecs: ZlibCodec | AesGcmCodec) -> str:
    """That of a worker that starts now."""
    forget()
    app = import_module("fingerprinted_app")
    return code_fingerprints(Registry([app.loads]), Envelope(codecs))["loads"]


def test_a_module_that_workflow_code_uses_counts_by_its_content(folder: Path) -> None:
    """Semantics 39: the fix may be in any module of the user's."""
    before = fingerprint()
    os.utime(folder / "fingerprinted_helper.py", (1, 1))
    assert fingerprint() == before
    (folder / "fingerprinted_helper.py").write_text("def load() -> int:\n    return 8\n")
    assert fingerprint() != before


def test_what_is_installed_counts(folder: Path) -> None:
    before = fingerprint()
    (folder / "shop-1.0.dist-info").mkdir()
    assert fingerprint() != before


def test_codecs_and_their_keys_count(folder: Path) -> None:
    one, two = b"1" * 32, b"2" * 32
    stages: list[tuple[ZlibCodec | AesGcmCodec, ...]] = [
        (),
        (ZlibCodec(),),
        (AesGcmCodec(one, "a"),),
        (AesGcmCodec(two, "a"),),
        (AesGcmCodec(one, "b"),),
        (AesGcmCodec(two, "b", {"a": one}),),
    ]
    assert len({fingerprint(*codecs) for codecs in stages}) == len(stages)
    assert fingerprint(AesGcmCodec(one, "a")) == fingerprint(AesGcmCodec(one, "a"))
    described = " ".join(Envelope([AesGcmCodec(one, "a")]).description())
    assert one.decode() not in described
    assert one.hex() not in described
