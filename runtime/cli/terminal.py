"""Questions on the terminal: the form that a person fills in, line by line."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from durable.errors import (
    ConfigurationError,
    MessageRejectedError,
    QuestionNotFoundError,
    RunClosedError,
    RunNotFoundError,
)
from runtime.cli.form import Field, describe, fields_of, fill
from runtime.cli.text import json_text, visible

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.client.description import Question

_YES = frozenset({"y", "yes"})
_NO = frozenset({"n", "no"})


class Terminal:
    """Asks the person at the terminal and sends the answer to the run.

    Lines are read by the event loop, not by a thread: a prompt can be taken back at any time, and a process that ends
    is not held up by a thread that waits for a key.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, question: Question) -> bool:
        """Ask until the run takes the answer. False: the person does not want to answer (end of input)."""
        _say(f"\n{question.prompt}")
        for name, value in (question.about.get("context") or {}).items():
            _say(f"  {name}: {value if isinstance(value, str) else json_text(value)}")
        while True:
            sent = await (self._decide(question) if question.kind == "approval" else self._fill_in(question))
            if sent is not None:
                return sent

    async def _decide(self, question: Question) -> bool | None:
        word = await read_line("approve? [y/n] ")
        if word is None:
            return False
        if word.strip().lower() not in _YES | _NO:
            _say("  y or n, please")
            return None
        comment = await read_line("comment (may be empty): ")
        if comment is None:
            return False
        run = self._client.get(question.workflow_id, question.run_id)
        decide = run.approve if word.strip().lower() in _YES else run.reject
        return await self._send(decide(comment=comment.strip(), key=question.key))

    async def _fill_in(self, question: Question) -> bool | None:
        fields = fields_of(question.answer_schema)
        values: dict[str, Any] = {}
        for field in fields:
            value = await self._ask_field(field)
            if value is None:
                return False
            if value:
                values[field.name] = value[0]
        answer = values.get("") if [field.name for field in fields] == [""] else values
        run = self._client.get(question.workflow_id, question.run_id)
        return await self._send(run.answer(answer, key=question.key))

    async def _ask_field(self, field: Field) -> list[Any] | None:
        """The value as a list of one, an empty list for an optional one that is left out, None at the end of input."""
        while True:
            name = f"{field.name} " if field.name else ""
            line = await read_line(f"{name}({describe(field.schema)}): ", is_hidden=field.is_secret)
            if line is None:
                return None
            if not line.strip() and not field.is_required:
                return []
            if not line.strip():
                _say('  an answer, please; an empty text is ""')
                continue
            try:
                return [fill(field, line)]
            except (ConfigurationError, MessageRejectedError) as error:
                _say(f"  {error.message}")

    async def _send(self, sending: Any) -> bool | None:
        try:
            await sending
        except MessageRejectedError as error:
            _say(f"  {error.message}")
            return None
        except (QuestionNotFoundError, RunClosedError, RunNotFoundError) as error:
            _say(f"  {error.message}")
        return True


def _say(text: str) -> None:
    print(visible(text), file=sys.stderr, flush=True)


async def read_line(prompt: str, *, is_hidden: bool = False) -> str | None:
    """One line from the terminal; None at the end of input. Cancelling it takes the prompt back.

    Args:
        is_hidden: what is typed is not shown.
    """
    print(visible(prompt), end="", file=sys.stderr, flush=True)
    loop = asyncio.get_running_loop()
    number = sys.stdin.fileno()
    typed = bytearray()
    done: asyncio.Future[str | None] = loop.create_future()

    def take() -> None:
        part = os.read(number, 4096)
        typed.extend(part)
        if not done.done() and (not part or typed.endswith(b"\n")):
            done.set_result(typed.decode(errors="replace").rstrip("\r\n") if typed else None)

    with _hidden(number) if is_hidden else _shown():
        loop.add_reader(number, take)
        try:
            return await done
        except asyncio.CancelledError:
            _say("")
            raise
        finally:
            loop.remove_reader(number)


@contextmanager
def _shown() -> Iterator[None]:
    yield


@contextmanager
def _hidden(number: int) -> Iterator[None]:
    before = termios.tcgetattr(number)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(number, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
        _say("")
