"""The codes of the linter: what each check finds, why it matters, and an example of both ways to write it.

The first digit says what it is about: 1 what only steps may call, 2 how the context is used, 3 order, 4 state, 5 cancellation,
6 time, 9 the check itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from durable.kernel.rules import Category


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding.

    Attributes:
        code: like ``DURL101``.
        title: what it finds, in a few words.
        why: what would happen, a sentence.
        remedy: what to do, a clause.
        bad: code that has it, to be read below ``PRELUDE``.
        good: the same code without it.
    """

    code: str
    title: str
    why: str
    remedy: str
    bad: str
    good: str


PRELUDE: Final = "from durable import Context, step, workflow\n"
"""What the examples import besides what they show."""


def _body(code: str, *lines: str) -> str:
    """A workflow, with what is before it."""
    head = f"{code.rstrip()}\n\n\n" if code else ""
    return f"{head}@workflow\nasync def deploy(ctx: Context) -> None:\n" + "".join(f"    {line}\n" for line in lines)


_STEP: Final = "@step\nasync def charge(amount: int) -> str: ...\n"

_CALLS: Final = (
    Code(
        "DURL101",
        "a clock is read",
        "Replay reads it again, later, and may take another way.",
        "use ctx.now()",
        _body("from datetime import UTC, datetime", "started = datetime.now(UTC)"),
        _body("", "started = ctx.now()"),
    ),
    Code(
        "DURL102",
        "randomness that replay cannot repeat",
        "Each replay draws something else.",
        "use ctx.random, ctx.uuid4()",
        _body("import uuid", "order_id = uuid.uuid4()"),
        _body("", "order_id = ctx.uuid4()"),
    ),
    Code(
        "DURL103",
        "a sleep that blocks",
        "It stops every run of the worker, and a restart begins it anew.",
        "use await ctx.sleep(...)",
        _body("import time", "time.sleep(60)"),
        _body("", "await ctx.sleep(60)"),
    ),
    Code(
        "DURL104",
        "a thread is started",
        "What a thread does, and when, is not recorded.",
        "use a task group, or do it in a step",
        _body("import asyncio\n\n\ndef count() -> int: ...\n", "await asyncio.to_thread(count)"),
        _body("def count() -> int: ...\n", "await ctx.step(count)"),
    ),
    Code(
        "DURL105",
        "a process or signal of the operating system",
        "Replay would start it again.",
        "do it in a step",
        _body("import subprocess", 'subprocess.run(["make"])'),
        _body(
            'import subprocess\n\n\n@step\ndef build() -> None:\n    subprocess.run(["make"])\n',
            "await ctx.step(build)",
        ),
    ),
    Code(
        "DURL106",
        "a file is read or changed",
        "What it holds may differ on replay, and what is written is written again.",
        "do it in a step",
        _body("from pathlib import Path", 'notes = Path("notes.txt").read_text()'),
        _body(
            'from pathlib import Path\n\n\n@step\ndef read_notes() -> str:\n    return Path("notes.txt").read_text()\n',
            "notes = await ctx.step(read_notes)",
        ),
    ),
    Code(
        "DURL107",
        "the network is used",
        "Replay would ask again, and get another answer.",
        "do it in a step",
        _body("import httpx", 'page = httpx.get("https://example.org")'),
        _body(
            "import httpx\n\n\n@step\ndef fetch(url: str) -> str:\n    return httpx.get(url).text\n",
            'page = await ctx.step(fetch, "https://example.org")',
        ),
    ),
    Code(
        "DURL108",
        "the terminal is asked",
        "Nobody sits at a worker's terminal, and replay would ask again.",
        "use await ctx.ask_user(...)",
        _body("", 'region = input("Where?")'),
        _body("", 'region = await ctx.ask_user("Where?")'),
    ),
    Code(
        "DURL109",
        "something is printed",
        "Every replay prints it again.",
        "use ctx.log",
        _body("", 'print("deploying")'),
        _body("", 'ctx.log.info("deploying")'),
    ),
    Code(
        "DURL110",
        "the environment is read",
        "The answer depends on the process or machine that asks.",
        "pass it in as an argument, or read it in a step",
        _body("import os", 'region = os.environ["REGION"]'),
        "@workflow\nasync def deploy(ctx: Context, region: str) -> None: ...\n",
    ),
    Code(
        "DURL111",
        "the event loop is made to reach outside, or another one to run",
        "A workflow's loop has no threads, sockets, processes and signals, and no loop runs inside it; at run time it is refused.",
        "do it in a step",
        _body(
            "import asyncio\n\n\ndef count() -> int: ...\n",
            "loop = asyncio.get_running_loop()",
            "await loop.run_in_executor(None, count)",
        ),
        _body("def count() -> int: ...\n", "await ctx.step(count)"),
    ),
)

_CONTEXT: Final = (
    Code(
        "DURL201",
        "a step is called directly",
        "Its result would not be recorded; at run time it is refused.",
        "write: await ctx.step(...)",
        _body(_STEP, "receipt = await charge(3)"),
        _body(_STEP, "receipt = await ctx.step(charge, 3)"),
    ),
    Code(
        "DURL202",
        "a workflow is called directly",
        "It would share its caller's history; at run time it is refused.",
        "write: await ctx.child_workflow(...)",
        _body("@workflow\nasync def test(ctx: Context) -> None: ...\n", "await test(ctx)"),
        _body("@workflow\nasync def test(ctx: Context) -> None: ...\n", "await ctx.child_workflow(test)"),
    ),
    Code(
        "DURL203",
        "an operation is not awaited",
        "Without await nothing is scheduled.",
        "write await before it, or hand it to gather, create_task or start_soon",
        _body(_STEP, "ctx.step(charge, 3)"),
        _body(_STEP, "await ctx.step(charge, 3)"),
    ),
    Code(
        "DURL204",
        "an await inside ctx.unguarded()",
        "While it waits, the other tasks of the run are unguarded as well.",
        "move the await out of the block",
        _body("", "with ctx.unguarded():", "    await ctx.sleep(1)"),
        _body("", "with ctx.unguarded():", "    pass", "await ctx.sleep(1)"),
    ),
)

_ORDER: Final = (
    Code(
        "DURL301",
        "the order of a set decides",
        "Sets of texts iterate differently in every process.",
        "iterate over sorted(...), or use a dict or list",
        _body(_STEP, "for amount in {3, 5}:", "    await ctx.step(charge, amount)"),
        _body(_STEP, "for amount in sorted({3, 5}):", "    await ctx.step(charge, amount)"),
    ),
    Code(
        "DURL302",
        "id() or hash() decides",
        "Both differ between processes.",
        "use a key from the data itself, or hashlib",
        _body("", 'shard = hash("customer") % 8'),
        _body("import hashlib", 'shard = hashlib.sha256(b"customer").digest()[0] % 8'),
    ),
)

_STATE: Final = (
    Code(
        "DURL401",
        "a global that changes is read",
        "On replay it holds something else.",
        "pass it in as an argument, or read it in a step",
        _body(
            'prices: dict[str, int] = {}\n\n\n@step\ndef load() -> None:\n    prices["anvil"] = 120\n',
            'price = prices["anvil"]',
        ),
        _body(
            '@step\ndef load() -> dict[str, int]:\n    return {"anvil": 120}\n',
            'price = (await ctx.step(load))["anvil"]',
        ),
    ),
    Code(
        "DURL402",
        "a global is changed",
        "Replay changes it again, and other runs of the worker see it.",
        "keep it in a local variable, or change it in a step",
        _body("seen: list[str] = []\n", 'seen.append("deploy")'),
        _body("", "seen: list[str] = []", 'seen.append("deploy")'),
    ),
    Code(
        "DURL403",
        "a global that every process computes anew",
        "It is computed when the module is imported, so replay in another process finds another value.",
        "compute it in a step, or pass it in as an argument",
        _body("import uuid\n\nSESSION = uuid.uuid4()\n", 'ctx.log.info("session %s", SESSION)'),
        _body("", 'ctx.log.info("session %s", ctx.uuid4())'),
    ),
)

_CANCELLATION: Final = (
    Code(
        "DURL501",
        "a broad except swallows cancellation",
        "A cancelled run goes on as if nothing had happened.",
        "catch Exception, or raise again",
        _body(_STEP, "try:", "    await ctx.step(charge, 3)", "except:", "    pass"),
        _body(_STEP, "try:", "    await ctx.step(charge, 3)", "except Exception:", "    pass"),
    ),
    Code(
        "DURL502",
        "CancelledError is caught and not raised again",
        "The run does not end when it is cancelled.",
        "raise it again after cleaning up",
        _body(
            "import asyncio\n",
            "try:",
            "    await ctx.sleep(60)",
            "except asyncio.CancelledError:",
            '    ctx.log.info("cancelled")',
        ),
        _body(
            "import asyncio\n",
            "try:",
            "    await ctx.sleep(60)",
            "except asyncio.CancelledError:",
            '    ctx.log.info("cancelled")',
            "    raise",
        ),
    ),
    Code(
        "DURL503",
        "a finally swallows cancellation",
        "return, break and continue in a finally drop the exception that passes through.",
        "let the finally end by itself",
        _body("", "try:", "    await ctx.sleep(60)", "finally:", "    return"),
        _body("", "try:", "    await ctx.sleep(60)", "finally:", '    ctx.log.info("done")'),
    ),
)

_TIME: Final = (
    Code(
        "DURL601",
        "a naive datetime as an instant",
        "It names no instant: ctx refuses it, and it does not compare with ctx.now().",
        "give it a time zone: tzinfo=UTC",
        _body("from datetime import datetime", "await ctx.sleep_until(datetime(2030, 1, 1))"),
        _body("from datetime import UTC, datetime", "await ctx.sleep_until(datetime(2030, 1, 1, tzinfo=UTC))"),
    ),
    Code(
        "DURL602",
        "the machine's time zone decides",
        "Another worker, with another time zone, computes something else.",
        "name the time zone",
        _body("from datetime import datetime", "day = datetime.fromtimestamp(0)"),
        _body("from datetime import UTC, datetime", "day = datetime.fromtimestamp(0, UTC)"),
    ),
)

_CHECK: Final = (
    Code(
        "DURL901",
        "the file cannot be parsed",
        "Nothing in it was checked.",
        "mend it first",
        "def deploy(:\n",
        "def deploy(): ...\n",
    ),
    Code(
        "DURL902",
        "an ignore that ignores nothing",
        "It would hide what comes later.",
        "remove it",
        _body("", "started = ctx.now()  # durable: ignore[DURL101]"),
        _body("", "started = ctx.now()"),
    ),
)

CODES: Final[dict[str, Code]] = {
    item.code: item for item in (*_CALLS, *_CONTEXT, *_ORDER, *_STATE, *_CANCELLATION, *_TIME, *_CHECK)
}
"""Every code, in order."""

GROUPS: Final = {
    "1": "What only steps may call",
    "2": "How the context is used",
    "3": "Order",
    "4": "State",
    "5": "Cancellation",
    "6": "Time",
    "9": "The check itself",
}
"""What the first digit of a code means."""

BY_CATEGORY: Final[dict[Category, str]] = {
    Category.CLOCK: "DURL101",
    Category.RANDOMNESS: "DURL102",
    Category.SLEEP: "DURL103",
    Category.THREAD: "DURL104",
    Category.PROCESS: "DURL105",
    Category.FILE: "DURL106",
    Category.NETWORK: "DURL107",
    Category.INPUT: "DURL108",
    Category.OUTPUT: "DURL109",
    Category.ENVIRONMENT: "DURL110",
    Category.LOOP: "DURL111",
}
"""The code of each category of the table of forbidden calls."""
