"""Nobody writes plain text into runs whose workers encrypt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from durable import CompleteLater, Context, Query, Signal, Update, step, step_info, workflow
from durable.codec import AesGcmCodec, ZlibCodec
from durable.errors import ConfigurationError
from runtime import Client, Runtime

pytestmark = pytest.mark.anyio

note = Signal("note", str)
ask = Query("ask", str)
change = Update("change", str, returns=str)
SECRET = "the comment nobody may read"
tokens: list[str] = []


@step
async def elsewhere() -> str:
    tokens.append(step_info().token)
    raise CompleteLater


@workflow(messages=[note, ask, change])
async def asks(ctx: Context, text: str = "") -> str:
    @ctx.on(ask)
    def _() -> str:
        return text

    @ctx.on(change)
    async def _(text: str) -> str:
        return text

    decision = await ctx.ask_approval("go?", key="go")
    place = await ctx.ask_user("where?", key="place")
    noted = await ctx.wait_signal(note)
    return f"{decision.comment} {place} {noted} {await ctx.step(elsewhere)}"


async def refused(call: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"encrypt its values \(aes-gcm\).*--codecs MODULE:NAME"):
        await call


async def test_client_without_encryption_is_refused(tmp_path: Path) -> None:
    tokens.clear()
    url = f"sqlite:///{tmp_path / 'durable.db'}"
    codecs = [ZlibCodec(), AesGcmCodec(os.urandom(32))]
    async with Runtime(url, workflows=[asks], codecs=codecs) as rt, Client(url, codecs=[ZlibCodec()]) as plain:
        await rt.start(asks.options(id="x"), "hello")
        right, wrong = rt.get("x"), plain.get("x")
        await right.until_waiting("go", timeout=30)
        await refused(wrong.approve(comment=SECRET))
        await refused(wrong.reject(comment=SECRET))
        await right.approve(comment=SECRET)
        await right.until_waiting("place", timeout=30)
        await refused(wrong.answer(SECRET))
        await right.answer(SECRET)
        await refused(wrong.signal(note, SECRET))
        await refused(wrong.signal("note", SECRET))
        await refused(wrong.query(ask))
        await refused(wrong.update(change, SECRET))
        await refused(plain.start("asks", SECRET))
        await refused(plain.start(asks, SECRET))
        await refused(plain.start(asks.bind(SECRET)))
        await right.signal(note, SECRET)
        await right.until_waiting("elsewhere", timeout=30)
        await refused(plain.step(tokens[0]).complete(SECRET))
        await refused(plain.step(tokens[0]).fail(SECRET))
        await rt.step(tokens[0]).complete(SECRET)
        assert await right.result(timeout=30) == " ".join([SECRET] * 4)
    for file in tmp_path.glob("durable.db*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes()


async def test_encryption_that_ended_is_heard_of(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'durable.db'}"
    async with Client(url) as plain:
        async with Runtime(url, workflows=[asks], codecs=[AesGcmCodec(os.urandom(32))]):
            await refused(plain.start("asks"))
        async with Runtime(url, workflows=[asks], recover=False) as own:
            await refused(own.start(asks))
            await refused(plain.start("asks"))
        async with Runtime(url, workflows=[asks]):
            await plain.start("asks")
