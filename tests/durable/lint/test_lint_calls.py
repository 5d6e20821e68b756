"""What only steps may call: clocks, randomness, files and so on, however they are written."""

import pytest
from lint_case import assert_case, findings_in

WRONG = {
    "module attribute": """
        import time
        ---
        time.time()  # !DURL101
    """,
    "name from a module": """
        from time import time as t
        ---
        t()  # !DURL101
    """,
    "class in a module": """
        import datetime as dt
        ---
        dt.datetime.now(dt.UTC)  # !DURL101
    """,
    "class from a module": """
        from datetime import date
        ---
        date.today()  # !DURL101
    """,
    "utcnow": """
        from datetime import datetime
        ---
        datetime.utcnow()  # !DURL101
    """,
    "import in the function": """
        ---
        import time
        time.monotonic()  # !DURL101
    """,
    "import that may fail": """
        try:
            from time import time
        except ImportError:
            time = None
        ---
        time()  # !DURL101
    """,
    "everything from a module": """
        from random import *
        ---
        choice([1, 2])  # !DURL102
    """,
    "alias of a function": """
        import random
        ---
        draw = random.random
        draw()  # !DURL102
    """,
    "global alias": """
        import uuid
        new_id = uuid.uuid4
        ---
        new_id()  # !DURL102
    """,
    "alias of a module": """
        import os
        system = os
        ---
        system.urandom(8)  # !DURL102
    """,
    "either of two": """
        import time
        ---
        clock = time.time if ctx.info.attempt else time.monotonic
        clock()  # !DURL101
    """,
    "one of a tuple": """
        import time, uuid
        ---
        for call in (time.time, uuid.uuid4):
            call()  # !DURL101
    """,
    "one of a dict": """
        import time
        CLOCKS = {"wall": time.time}
        ---
        CLOCKS["wall"]()  # !DURL101
    """,
    "getattr": """
        import time
        ---
        getattr(time, "time")()  # !DURL101
    """,
    "import_module": """
        from importlib import import_module
        ---
        import_module("time").time()  # !DURL101
    """,
    "partial": """
        import functools, time
        ---
        functools.partial(time.time)  # !DURL101
    """,
    "global partial": """
        import functools, time
        now = functools.partial(time.time)
        ---
        now()  # !DURL101
    """,
    "default_factory": """
        import uuid
        from dataclasses import dataclass, field

        @dataclass
        class Order:
            id: uuid.UUID = field(default_factory=uuid.uuid4)  # !DURL102
        ---
        Order()
    """,
    "default_factory of a model": """
        from datetime import datetime
        from pydantic import BaseModel, Field

        class Order(BaseModel):
            at: datetime = Field(default_factory=lambda: datetime.now())  # !DURL101
        ---
        Order()
    """,
    "callback of map": """
        import os
        ---
        list(map(os.urandom, [1, 2]))  # !DURL102
    """,
    "callback of the loop": """
        import asyncio, time
        ---
        asyncio.get_running_loop().call_soon(time.sleep, 1)  # !DURL103
    """,
    "default of a parameter": """
        import time

        def elapsed(clock=time.time):
            return clock()  # !DURL101
        ---
        elapsed()
    """,
    "lambda": """
        import time
        ---
        (lambda: time.time())()  # !DURL101
    """,
    "global lambda": """
        import time
        now = lambda: time.time()  # !DURL101
        ---
        now()
    """,
    "comprehension": """
        import random
        ---
        [random.random() for _ in range(3)]  # !DURL102
    """,
    "f-string": """
        import time
        ---
        f"{time.time()}"  # !DURL101
    """,
    "argument of a step": """
        import time
        def charge(at): ...
        ---
        await ctx.step(charge, time.time())  # !DURL101
    """,
    "no seed": """
        import random
        ---
        random.Random()  # !DURL102
    """,
    "seed that is None": """
        import random
        ---
        random.Random(None)  # !DURL102
    """,
    "no seconds": """
        import time
        ---
        time.gmtime()  # !DURL101
        time.strftime("%Y")  # !DURL101
    """,
    "generator of the system": """
        import random
        system = random.SystemRandom()
        ---
        system.choice([1, 2])  # !DURL102
    """,
    "numpy": """
        import numpy as np
        ---
        np.random.rand(3)  # !DURL102
    """,
    "thread": """
        import threading
        ---
        thread = threading.Thread(target=print)  # !DURL109
        thread.start()  # !DURL104
    """,
    "subclass of a thread": """
        from threading import Thread
        class Loader(Thread): ...
        ---
        Loader().start()  # !DURL104
    """,
    "executor": """
        from concurrent.futures import ThreadPoolExecutor
        def work(): ...
        ---
        with ThreadPoolExecutor() as pool:
            pool.submit(work)  # !DURL104
    """,
    "to_thread of anyio": """
        from anyio import to_thread
        def work(): ...
        ---
        await to_thread.run_sync(work)  # !DURL104
    """,
    "process": """
        from subprocess import run as execute
        ---
        execute(["true"])  # !DURL105
    """,
    "open": """
        ---
        with open("notes.txt") as file:  # !DURL106
            file.read()
    """,
    "open of builtins": """
        import builtins
        ---
        builtins.open("notes.txt")  # !DURL106
    """,
    "path in a variable": """
        from pathlib import Path
        ---
        path = Path("a") / "b"
        path.parent.mkdir()  # !DURL106
    """,
    "path as a parameter": """
        import pathlib
        @workflow
        async def load(ctx: Context, path: "pathlib.Path | None") -> None:
            path.exists()  # !DURL106
    """,
    "os.path": """
        from os import path
        ---
        path.exists("a")  # !DURL106
    """,
    "request": """
        import httpx
        ---
        httpx.get("https://example.org")  # !DURL107
    """,
    "socket": """
        import socket
        ---
        connection = socket.socket()  # !DURL107
        connection.connect(("localhost", 80))  # !DURL107
    """,
    "input": """
        ---
        input("Sure?")  # !DURL108
    """,
    "print": """
        ---
        print("deploying")  # !DURL109
    """,
    "print as a callback": """
        def each(call): ...
        ---
        each(print)  # !DURL109
    """,
    "environment": """
        import os
        ---
        os.getenv("HOME")  # !DURL110
        os.environ["HOME"]  # !DURL110
        os.environ.get("HOME")  # !DURL110
        "HOME" in os.environ  # !DURL110
    """,
    "environment from os": """
        from os import environ
        ---
        environ["HOME"]  # !DURL110
    """,
    "id and hash": """
        ---
        id(ctx)  # !DURL302
        hash("a") % 8  # !DURL302
    """,
    "sorted by id": """
        ---
        sorted([object()], key=id)  # !DURL302
    """,
    "dict keyed by id": """
        ---
        {id(item): item for item in ["a"]}  # !DURL302
    """,
}

FINE = {
    "clock of the context": """
        ---
        ctx.now()
        ctx.random.random()
        ctx.uuid4()
    """,
    "parameter that is called like a module": """
        import time, random
        @workflow
        async def deploy(ctx: Context, time, random: int) -> None:
            time.time()
            random.random()
    """,
    "variable that is called like a module": """
        import time
        ---
        time = ctx.now()
        time.time()
    """,
    "comprehension variable that is called like a function": """
        ---
        [id(1) for id in [str]]
        [open for open in "ab"]
    """,
    "function of the module that is called like a built-in": """
        def input(text): return text
        def print(text): return text
        ---
        input("a")
        print("b")
    """,
    "own generator": """
        import random
        ---
        generator = random.Random(7)
        generator.random()
        generator.shuffle([])
    """,
    "conversions": """
        import time
        ---
        time.gmtime(0)
        time.strftime("%Y", time.gmtime(0))
        time.ctime(0)
    """,
    "datetime arithmetic": """
        from datetime import UTC, datetime, timedelta
        ---
        datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=1)
    """,
    "uuid5": """
        import uuid
        ---
        uuid.uuid5(uuid.NAMESPACE_DNS, "a")
    """,
    "paths without a disk": """
        from pathlib import Path
        import os
        ---
        Path("a") / "b"
        Path("a").with_suffix(".txt").name
        os.path.join("a", "b")
    """,
    "durable sleeps": """
        import anyio, asyncio
        ---
        await asyncio.sleep(1)
        await anyio.sleep(1)
    """,
    "class that is only looked at": """
        import random
        ---
        isinstance(ctx, random.Random)
    """,
    "annotation": """
        import random, time
        def draw(generator: random.Random, clock: "time.time" = None) -> random.SystemRandom: ...
        ---
        generator: random.Random = ctx.random
        draw(generator)
    """,
    "step": """
        import time
        @step
        def charge() -> float:
            return time.time()
        ---
        await ctx.step(charge)
    """,
    "function as a step": """
        import time
        def charge() -> float:
            return time.time()
        ---
        await ctx.step(charge)
    """,
    "method as a step": """
        import time
        class Shop:
            def charge(self) -> float:
                return time.time()
        shop = Shop()
        ---
        await ctx.step(shop.charge)
    """,
    "partial as a step": """
        import functools, time
        ---
        await ctx.step(functools.partial(time.sleep, 1))
    """,
    "function of a library as a step": """
        import time
        nap = step(time.sleep, timeout=5)
        ---
        await ctx.step(nap, 1)
        await ctx.step(time.sleep, 1)
        await ctx.step(step(time.sleep, name="doze"), 1)
    """,
    "local function as a step": """
        import time
        ---
        def charge() -> float:
            return time.time()
        await ctx.step(charge)
    """,
    "local step": """
        import time
        ---
        @step
        def charge() -> float:
            return time.time()
        await ctx.step(charge)
    """,
    "compensation": """
        import time
        def undo(amount): return time.time()
        def undo_child(amount): return time.time()
        @step(compensate=undo)
        def charge(): ...
        @workflow
        async def child(ctx: Context): ...
        ---
        ctx.compensate(undo, 1)
        await ctx.step(charge.options(compensate=undo))
        await ctx.child_workflow(child.options(compensate=undo_child))
    """,
    "the way out": """
        import os, time
        def helper(): return time.time()
        ---
        with ctx.unguarded():
            os.getpid()
            helper()
            print(os.environ["HOME"])
    """,
    "the way out among others": """
        import os
        from contextlib import suppress
        ---
        with suppress(OSError), ctx.unguarded():
            os.stat("/etc/hostname")
    """,
    "function that no workflow calls": """
        import time
        def now(): return time.time()
        ---
        ctx.now()
    """,
    "hash of a class": """
        class Key:
            def __hash__(self): return hash(1)
        ---
        {Key(): 1}
    """,
    "method that is called like a function": """
        ---
        ctx.log.info("%s", {"open": 1}.get("open"))
    """,
    "callable of the context": """
        ---
        await ctx.ask_user("Where?", str)
        await ctx.wait_condition(lambda: True)
    """,
    "class attribute of a program": """
        class Clock:
            def time(self): return 1
        time = Clock()
        ---
        time.time()
    """,
    "seeded generator of numpy": """
        import numpy as np
        ---
        np.random.default_rng(7).random()
    """,
    "logging": """
        import logging
        log = logging.getLogger(__name__)
        ---
        log.info("deploying")
    """,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_forbidden_call_is_found(text):
    assert_case(text)


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_harmless_code_is_left_alone(text):
    assert_case(text)


def test_finding_says_what_where_why_and_what_to_write():
    (finding,) = findings_in("import time\n---\nstarted = time.time()\n")
    assert str(finding) == (
        "app.py:6:15: DURL101 time.time() is called in workflow 'deploy': its result would differ on replay; use ctx.now()"
    )
    assert (finding.end_line, finding.end_column) == (6, 26)
    assert finding.workflow == "deploy"
    assert finding.via == ("deploy",)


def test_columns_count_characters():
    (finding,) = findings_in("import time\n---\n_ = 'äöü', time.time()\n")
    assert finding.column == 16
