"""Which code is workflow code: how workflows are declared, and what they reach, in one module and across modules."""

import pytest
from lint_case import assert_case, marked

from durable.lint import check_paths, check_sources
from durable.lint.code import PRELUDE

WRONG = {
    "alias of the decorator": """
        import time
        from durable import workflow as wf
        @wf
        async def flow(ctx):
            time.time()  # !DURL101
    """,
    "attribute of the package": """
        import time
        import durable
        @durable.workflow(name="flow", version="2")
        async def flow(ctx):
            time.time()  # !DURL101
    """,
    "alias of the package": """
        import time
        import durable as d
        @d.workflow
        async def flow(ctx):
            time.time()  # !DURL101
    """,
    "module of the package": """
        import time
        from durable.workflow import workflow as declare
        @declare(timeout=3)
        async def flow(ctx):
            time.time()  # !DURL101
    """,
    "everything of the package": """
        import time
        from durable import *
        @workflow
        async def flow(ctx):
            time.time()  # !DURL101
    """,
    "called on a function": """
        import time
        async def plain(ctx):
            time.time()  # !DURL101
        flow = workflow(plain)
    """,
    "called with options on a function": """
        import time
        async def plain(ctx):
            time.time()  # !DURL101
        flow = workflow(name="flow")(plain)
    """,
    "options in a variable": """
        import time
        nightly = workflow(queue="night")
        @nightly
        async def flow(ctx):
            time.time()  # !DURL101
    """,
    "within a function": """
        import time
        def make():
            @workflow
            async def flow(ctx):
                time.time()  # !DURL101
            return flow
    """,
    "declared under a condition": """
        import sys, time
        if sys.version_info > (3, 12):
            @workflow
            async def flow(ctx):
                time.time()  # !DURL101
    """,
    "function within": """
        import time
        ---
        def now():
            return time.time()  # !DURL101
        now()
    """,
    "function that is passed on": """
        import time
        def now():
            return time.time()  # !DURL101
        ---
        await ctx.wait_condition(now)
    """,
    "function of a function": """
        import time
        def now():
            return time.time()  # !DURL101
        def later():
            return now() + 1
        ---
        later()
    """,
    "function that is a step too": """
        import time
        def now():
            return time.time()  # !DURL101
        ---
        await ctx.step(now)
        now()
    """,
    "function that a helper hands to a step and calls": """
        import time
        async def run(ctx, fn):
            fn()
            return await ctx.step(fn)
        def now():
            return time.time()  # !DURL101
        ---
        (lambda fn: fn)(now)
        await run(ctx, now)
    """,
    "handler": """
        import time
        from durable import Query
        report = Query("report", float)
        ---
        @ctx.on(report)
        def _():
            return time.time()  # !DURL101
    """,
    "validator": """
        import time
        from durable import Update
        add = Update("add", int)
        ---
        @ctx.on(add)
        async def on_add(number): ...

        @on_add.validator
        def check(number):
            time.time()  # !DURL101
    """,
    "method": """
        import time
        class Clock:
            def read(self):
                return self.offset() + 1
            def offset(self):
                return time.time()  # !DURL101
        ---
        Clock().read()
    """,
    "method of a global object": """
        import time
        class Clock:
            def read(self):
                return time.time()  # !DURL101
        clock = Clock()
        ---
        clock.read()
    """,
    "method of a parameter": """
        import time
        class Order:
            def age(self):
                return time.time()  # !DURL101
        @workflow
        async def flow(ctx, order: Order, more: list[Order]):
            order.age()
    """,
    "method of an element": """
        import time
        class Order:
            def age(self):
                return time.time()  # !DURL101
        @workflow
        async def flow(ctx, orders: list["Order"]):
            return [order.age() for order in orders]
    """,
    "method of a step's result": """
        import time
        class Order:
            def age(self):
                return time.time()  # !DURL101
        @step
        def load() -> Order: ...
        ---
        order = await ctx.step(load)
        order.age()
    """,
    "inherited method": """
        import time
        class Base:
            def read(self):
                return time.time()  # !DURL101
        class Clock(Base): ...
        ---
        Clock().read()
    """,
    "static and class methods": """
        import time
        class Clock:
            @staticmethod
            def read():
                return time.time()  # !DURL101
            @classmethod
            def again(cls):
                return cls.read() + time.monotonic()  # !DURL101
        ---
        Clock.again()
    """,
    "property": """
        import time
        class Clock:
            @property
            def now(self):
                return time.time()  # !DURL101
        ---
        Clock().now
    """,
    "constructor": """
        import time
        class Clock:
            def __init__(self):
                self.started = time.time()  # !DURL101
        ---
        Clock()
    """,
    "__post_init__": """
        import time
        from dataclasses import dataclass
        @dataclass
        class Order:
            at: float = 0
            def __post_init__(self):
                self.at = time.time()  # !DURL101
        ---
        Order()
    """,
    "validator of a model": """
        import time
        from pydantic import BaseModel, field_validator
        class Order(BaseModel):
            at: float
            @field_validator("at")
            @classmethod
            def check(cls, value):
                return min(value, time.time())  # !DURL101
        ---
        Order(at=1)
    """,
    "context manager": """
        import time
        class Timer:
            def __enter__(self):
                self.started = time.time()  # !DURL101
            def __exit__(self, *error):
                time.monotonic()  # !DURL101
        ---
        with Timer():
            pass
    """,
    "generator": """
        import time
        def ticks():
            while True:
                yield time.time()  # !DURL101
        ---
        for tick in ticks():
            break
    """,
    "iterator": """
        import random
        class Draws:
            def __iter__(self): return self
            def __next__(self):
                return random.random()  # !DURL102
        ---
        for draw in Draws():
            break
    """,
    "wrapper of a decorator": """
        import functools, time
        def timed(fn):
            @functools.wraps(fn)
            async def wrapper(*args):
                time.time()  # !DURL101
                return await fn(*args)
            return wrapper
        @workflow
        @timed
        async def flow(ctx): ...
    """,
    "wrapper of a decorator with arguments": """
        import time
        def timed(label):
            def decorate(fn):
                def wrapper(*args):
                    time.time()  # !DURL101
                    return fn(*args)
                return wrapper
            return decorate
        @timed("a")
        def helper(): ...
        ---
        helper()
    """,
    "default argument of a function within": """
        import time
        ---
        def later(now=time.time()):  # !DURL101
            return now
        later()
    """,
    "class within": """
        import time
        ---
        class Order:
            at = time.time()  # !DURL101
    """,
    "helper that takes a context, under no workflow": """
        import time
        async def helper(ctx: Context):
            time.time()  # !DURL101
    """,
    "match, walrus and while": """
        import time
        ---
        match ctx.info.attempt:
            case 1 if time.time():  # !DURL101
                pass
        while (now := time.time()):  # !DURL101
            pass
    """,
    "values of a dict": """
        import time
        CLOCKS = {"wall": time.time}
        ---
        for clock in CLOCKS.values():
            clock()  # !DURL101
    """,
    "base after one of a library": """
        import time, enum, collections
        class Base:
            def read(self):
                return time.time()  # !DURL101
        class Clock(enum.Enum, collections.namedtuple("Clock", "a"), Base): ...
        ---
        Clock().read()
    """,
    "bases that have one base": """
        import time, typing
        class Root: ...
        class Left(Root, typing.Generic[typing.T]): ...
        class Right(Root, typing.NamedTuple("Pair", [])):
            def read(self):
                return time.time()  # !DURL101
        class Clock(Left, Right): ...
        ---
        Clock().read()
        Clock().unknown()
    """,
    "static method's own parameter": """
        import time
        class Clock:
            @staticmethod
            def read(call):
                return call.read()
        class Other:
            def read(self):
                return time.time()  # !DURL101
        ---
        Clock.read(Other())
    """,
    "helper of a helper that takes a context": """
        import time
        def now():
            return time.time()  # !DURL101
        async def helper(ctx: Context):
            now()
    """,
    "executor by its inner module": """
        from concurrent.futures.thread import ThreadPoolExecutor
        ---
        ThreadPoolExecutor().submit(len, "a")  # !DURL104
    """,
    "async comprehension": """
        import time
        ---
        return [time.time() async for _ in ctx.signals(ctx.info)]  # !DURL101
    """,
}

FINE = {
    "decorator of somebody else": """
        import time
        from prefect import workflow as other
        @other
        async def flow(ctx):
            time.time()
    """,
    "decorator of the program": """
        import time
        def declared(fn): return fn
        @declared
        async def flow(ctx):
            time.time()
    """,
    "class that is only annotated": """
        import time
        class Order:
            def __init__(self):
                self.at = time.time()
            def age(self):
                return time.time()
        @workflow
        async def flow(ctx, order: Order):
            return order.at
    """,
    "other methods of a class": """
        import time
        class Order:
            def save(self):
                time.time()
            def total(self):
                return 3
        ---
        Order().total()
    """,
    "body of a decorator": """
        import time
        def registered(fn):
            time.time()
            return fn
        @registered
        def helper(): ...
        ---
        helper()
    """,
    "program around a workflow": """
        import asyncio, time
        from runtime import Runtime
        async def main():
            time.time()
            async with Runtime("memory://", workflows=[flow]) as runtime:
                await runtime.start(flow)
        @workflow
        async def flow(ctx): ...
        if __name__ == "__main__":
            asyncio.run(main())
            print(time.time())
    """,
    "function that a helper hands to a step": """
        import time
        async def run(context, fn, *arguments):
            context.log.info("running")
            return await context.step(fn, *arguments)
        class Runner:
            def __init__(self, ctx: Context):
                self.ctx = ctx
            async def run(self, fn):
                return await self.ctx.step(fn)
        def now():
            return time.time()
        def later():
            return time.time()
        ---
        def local():
            return time.time()
        await run(ctx, now)
        await run(ctx, fn=local)
        await run(ctx, time.sleep, 1)
        await Runner(ctx).run(later)
    """,
    "function of which only the name is read": """
        import time
        def now():
            return time.time()
        ---
        return now.__name__
    """,
    "workflow without parameters": """
        async def plain(): ...
        flow = workflow(plain)
    """,
    "names that nothing is known of": """
        from nowhere import *
        from nowhere import something
        ---
        unknown(), something.unknown(), getattr(ctx, unknown)()
        nothing, nobody = step(timeout=3)(), workflow(name="a")()
        nothing(), nobody()
        for item in [1].values():
            item()
    """,
    "function that calls itself": """
        def fib(n): return fib(n - 1) + fib(n - 2) if n > 1 else n
        a = b = lambda: a() or b()
        ---
        fib(3)
        a()
    """,
    "names that mean each other": """
        ---
        first = second = None
        first = second
        second = first
        for item in first or second:
            first = item
    """,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_workflow_code_is_reached(text):
    assert_case(text)


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_other_code_is_left_alone(text):
    assert_case(text)


HELPER = "import time\n\ndef now():\n    return time.time()  # !DURL101\n"
FLOW = PRELUDE + "{imports}\n\n@workflow\nasync def deploy(ctx: Context) -> None:\n    {call}\n"

ACROSS = {
    "module of the package": ("from shop.clock import now", "now()"),
    "module as a name": ("from shop import clock", "clock.now()"),
    "module by its path": ("import shop.clock", "shop.clock.now()"),
    "module by another name": ("import shop.clock as c", "c.now()"),
    "relative": ("from .clock import now as read", "read()"),
    "relative module": ("from . import clock", "clock.now()"),
    "relative with two dots": ("from ..shop.clock import now", "now()"),
    "everything": ("from shop.clock import *", "now()"),
    "passed on by the package": ("from shop import now", "now()"),
    "passed on under another name": ("from shop import read", "read()"),
    "in the function": ("", "from shop.clock import now; now()"),
    "class": ("from shop.model import Order", "Order().age()"),
    "object": ("from shop.model import order", "order.age()"),
}


@pytest.mark.parametrize(("imports", "call"), ACROSS.values(), ids=ACROSS)
def test_imports_are_followed(tmp_path, monkeypatch, imports, call):
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "src" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .clock import now\nfrom .clock import now as read\n")
    (package / "clock.py").write_text(HELPER)
    (package / "model.py").write_text(
        "from shop import clock\n\nclass Order:\n    def age(self):\n        return clock.now()\n\norder = Order()\n"
    )
    (package / "flows.py").write_text(FLOW.format(imports=imports, call=call))
    report = check_paths(["src/shop/flows.py"])
    assert [(finding.path, finding.line, finding.code) for finding in report.findings] == [
        ("src/shop/clock.py", *place) for place in marked(HELPER)
    ]
    (finding,) = report.findings
    assert finding.workflow == "deploy"
    assert finding.via[0] == "deploy"
    assert finding.via[-1] == "now"
    assert finding.message.startswith("time.time() is called in now, reached from workflow 'deploy'")
    assert report.files == 1


def test_modules_side_by_side_are_followed(tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "app.py").write_text(FLOW.format(imports="import helper", call="helper.now()"))
    (finding,) = check_paths([tmp_path / "app.py"]).findings
    assert finding.path == (tmp_path / "helper.py").as_posix()


def test_packages_without_init_are_followed(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "shop" / "deep").mkdir(parents=True)
    (tmp_path / "shop" / "deep" / "helper.py").write_text(HELPER)
    (tmp_path / "shop" / "app.py").write_text(
        FLOW.format(imports="import shop.deep.helper", call="shop.deep.helper.now()")
    )
    assert len(check_paths([tmp_path / "shop" / "app.py"]).findings) == 1
    (tmp_path / "shop" / "app.py").write_text(FLOW.format(imports="from shop.deep import helper", call="helper.now()"))
    assert len(check_paths([tmp_path / "shop" / "app.py"]).findings) == 1


def test_directories_above_the_project_are_not_searched(tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").touch()
    (project / "app.py").write_text(FLOW.format(imports="import helper", call="helper.now()"))
    assert check_paths([project]).ok


def test_standard_library_wins_over_files_of_its_names():
    sources = {
        "app.py": FLOW.format(imports="import time", call="time.time()"),
        "time.py": "def time(): return 1\n",
    }
    (finding,) = check_sources(sources).findings
    assert finding.path == "app.py"


def test_definitions_of_other_modules_are_known():
    sources = {
        "steps.py": PRELUDE + "@step\ndef charge(): ...\n\n@workflow\nasync def child(ctx): ...\n",
        "sdk.py": "from durable import workflow as flow\n",
        "app.py": "from sdk import flow\nfrom steps import charge, child\n\n"
        "@flow\nasync def deploy(ctx):\n    charge()  # !DURL201\n    child(ctx)  # !DURL202\n",
    }
    found = check_sources(sources).findings
    assert [(finding.line, finding.code) for finding in found] == marked(sources["app.py"])


def test_global_of_another_module_that_a_third_one_changes():
    sources = {
        "state.py": "prices = {}\ncount = 0\n",
        "loader.py": "import state\n\ndef load():\n    state.prices['a'] = 1\n    state.count += 1\n",
        "app.py": PRELUDE + "import loader, state\nfrom state import prices\n\n@workflow\nasync def deploy(ctx):\n"
        "    return prices['a'], state.count  # !DURL401 DURL401\n",
    }
    found = check_sources(sources).findings
    assert [(finding.line, finding.code) for finding in found] == marked(sources["app.py"])


def test_modules_that_import_each_other_end():
    sources = {
        "a.py": "from b import *\nfrom b import flow, missing\nimport b as me\n",
        "b.py": "from a import *\nfrom a import workflow, flow, missing\nfrom durable import Context\n",
        "c.py": "import time\nfrom durable import workflow\nfrom a import flow, missing, me, other\n\n"
        "@flow\nasync def deploy(ctx):\n    missing()\n\n"
        "@workflow\nasync def real(ctx):\n    missing(), me.missing(), other(), me.me()\n    time.time()  # !DURL101\n",
    }
    found = check_sources(sources).findings
    assert [(finding.line, finding.code) for finding in found] == marked(sources["c.py"])


def test_names_that_mean_each_other_are_all_understood():
    assert_case("""
        import time
        ---
        first = time.time
        second = third = None
        third = second
        second = first
        first = third
        first()  # !DURL101
        second()  # !DURL101
        third()  # !DURL101
    """)


def test_code_that_is_entangled_is_checked_in_time():
    names = [f"name{number}" for number in range(60)]
    lines = [f"    {one} = {' or '.join(names)}" for one in names]
    source = f"{PRELUDE}import time\n\n@workflow\nasync def deploy(ctx):\n    name0 = time.time\n" + "\n".join(lines)
    found = check_sources({"app.py": f"{source}\n    name0()  # !DURL101\n"}).findings
    assert [finding.code for finding in found] == ["DURL101"]


def test_file_is_reported_once_however_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(FLOW.format(imports="import time", call="time.time()"))
    report = check_paths(["app.py", ".", tmp_path / "app.py"])
    assert (report.files, len(report.findings), report.workflows) == (1, 1, 1)
