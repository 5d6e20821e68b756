"""Sets: where their order decides, and where it does not."""

import sys

import pytest
from lint_case import assert_case

WRONG = {
    "literal": """
        ---
        for tag in {"a", "b"}:  # !DURL301
            pass
    """,
    "call": """
        ---
        for tag in set(["a", "b"]):  # !DURL301
            pass
    """,
    "frozenset": """
        ---
        return [tag for tag in frozenset("ab")]  # !DURL301
    """,
    "comprehension": """
        ---
        for tag in {name.lower() for name in "ab"}:  # !DURL301
            pass
    """,
    "variable": """
        ---
        tags = {"a", "b"}
        for tag in tags:  # !DURL301
            pass
    """,
    "global": """
        TAGS = frozenset({"a", "b"})
        ---
        for tag in TAGS:  # !DURL301
            pass
    """,
    "parameter": """
        @workflow
        async def deploy(ctx: Context, tags: set[str]) -> None:
            for tag in tags:  # !DURL301
                pass
    """,
    "optional parameter": """
        from collections.abc import Set
        from typing import Optional
        @workflow
        async def deploy(ctx: Context, tags: Optional[Set[str]], more: "frozenset[str] | None") -> None:
            list(tags)  # !DURL301
            list(more)  # !DURL301
    """,
    "alias of a type": """
        Tags = set[str]
        @workflow
        async def deploy(ctx: Context, tags: Tags) -> None:
            list(tags)  # !DURL301
    """,
    "annotated variable": """
        ---
        tags: set[str] = ctx.info.tags
        return tuple(tags)  # !DURL301
    """,
    "field": """
        from pydantic import BaseModel
        class Order(BaseModel):
            tags: set[str] = set()
        @workflow
        async def deploy(ctx: Context, order: Order) -> None:
            for tag in order.tags:  # !DURL301
                pass
    """,
    "attribute": """
        class Order:
            def __init__(self):
                self.tags = {"a"}
        ---
        for tag in Order().tags:  # !DURL301
            pass
    """,
    "result of a step": """
        @step
        def load() -> set[str]: ...
        ---
        for tag in await ctx.step(load):  # !DURL301
            pass
    """,
    "result of a function": """
        def load(names):
            return {name.lower() for name in names}
        ---
        for tag in load("ab"):  # !DURL301
            pass
    """,
    "values of a dict": """
        @workflow
        async def deploy(ctx: Context, tags: dict[str, set[str]]) -> None:
            for tag in tags["a"]:  # !DURL301
                pass
    """,
    "elements of a list": """
        @workflow
        async def deploy(ctx: Context, groups: list[set[str]]) -> None:
            for group in groups:
                for tag in group:  # !DURL301
                    pass
    """,
    "set of results": """
        def name(number): return str(number)
        ---
        for tag in {name(1), len("a")}:  # !DURL301
            pass
        for tag in {name(number) for number in range(3)}:  # !DURL301
            pass
    """,
    "operators": """
        ---
        a, b = {"a"}, {"b"}
        list(a | b)  # !DURL301
        list(a & b)  # !DURL301
        list(a - b)  # !DURL301
        list(a ^ b)  # !DURL301
    """,
    "methods": """
        ---
        a = {"a"}
        list(a.union("b"))  # !DURL301
        list(a.copy())  # !DURL301
    """,
    "views of dicts": """
        ---
        a, b = {"a": 1}, {"b": 1}
        for key in a.keys() & b.keys():  # !DURL301
            pass
        for key in a.keys() - {"a"}:  # !DURL301
            pass
    """,
    "unpacked": """
        import asyncio
        ---
        await asyncio.gather(*{ctx.info.id})  # !DURL301
        [*{"a", "b"}]  # !DURL301
        first, second = {"a", "b"}  # !DURL301
    """,
    "text": """
        ---
        return ", ".join({"a", "b"})  # !DURL301
    """,
    "first": """
        ---
        tags = {"a", "b"}
        next(iter(tags))  # !DURL301
        tags.pop()  # !DURL301
    """,
    "dict of a set": """
        ---
        {tag: 1 for tag in {"a"}}  # !DURL301
        dict.fromkeys({"a"})  # !DURL301
    """,
    "numbered": """
        ---
        for number, tag in enumerate({"a", "b"}):  # !DURL301
            pass
    """,
    "mapped": """
        ---
        list(map(str.lower, {"A"}))  # !DURL301
    """,
    "delegated by a generator": """
        def tags():
            yield from {"a", "b"}  # !DURL301
        ---
        for tag in tags():
            pass
    """,
    "compared as a list": """
        ---
        return list({"a"}) == ["a"]  # !DURL301
    """,
    "type by another name, cast and generic": """
        from typing import Annotated, cast
        Tags = Annotated[set[str], "tags"]
        @workflow
        async def deploy(ctx: Context, tags: Tags, other) -> None:
            list(tags)  # !DURL301
            list(cast("set[str]", other))  # !DURL301
    """,
    "elements of what a step returns": """
        @step
        def load() -> list[set[str]]: ...
        ---
        for tags in await ctx.step(load):
            list(tags)  # !DURL301
        for tags in (await ctx.step(load))[:2]:
            list(tags)  # !DURL301
        (await ctx.step(load))[:2].append(set())
    """,
    "result of a coroutine": """
        from collections.abc import Coroutine
        def load() -> Coroutine[None, None, set[str]]: ...
        ---
        for tag in await load():  # !DURL301
            pass
    """,
    "passed to a helper": """
        def each(tags):
            for tag in tags:  # !DURL301
                pass
        ---
        each({"a", "b"})
    """,
    "in a step's arguments": """
        def charge(tags): ...
        ---
        await ctx.step(charge, list({"a", "b"}))  # !DURL301
    """,
}

if sys.version_info >= (3, 12):
    WRONG["type statement"] = """
        type Tags = set[str]
        @workflow
        async def deploy(ctx: Context, tags: Tags) -> None:
            list(tags)  # !DURL301
    """

FINE = {
    "sorted": """
        ---
        for tag in sorted({"a", "b"}):
            pass
        sorted(tag.lower() for tag in {"a", "b"})
        sorted(map(str.lower, {"a", "b"}))
        sorted(list({"a", "b"}))
        sorted([tag for tag in {"a"} if tag])
        sorted([*{"a"}])
    """,
    "counted": """
        ---
        tags = {"a", "b"}
        len(tags), min(tags), max(tags), any(tags), all(tag for tag in tags), sum(len(tag) for tag in tags)
    """,
    "asked for an element": """
        ---
        tags = {"a", "b"}
        if "a" in tags or "b" not in tags:
            tags.add("c")
        if tags == {"a"} or tags <= {"b"}:
            tags.discard("c")
    """,
    "set of a set": """
        ---
        tags = {"a", "b"}
        {tag.lower() for tag in tags}
        set(list(tags)), frozenset(tags), {*tags, "c"}
        tags.update(tag.lower() for tag in tags)
        tags | {"c"}
    """,
    "dict": """
        ---
        prices = {"a": 1}
        for name in prices:
            pass
        for name, price in prices.items():
            pass
        for name in {**prices}:
            pass
    """,
    "list of a function": """
        def load() -> list[str]:
            return sorted({"a", "b"})
        ---
        for name in load():
            pass
    """,
    "dict instead of a set": """
        ---
        for name in dict.fromkeys(["a", "b"]):
            pass
    """,
    "set as an argument of a step": """
        def charge(tags): ...
        ---
        await ctx.step(charge, {"a", "b"})
    """,
    "tasks": """
        import asyncio
        ---
        tasks = {asyncio.create_task(ctx.sleep(number)) for number in range(3)}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        for task in tasks:
            task.cancel()
    """,
    "tasks that are added": """
        import asyncio
        ---
        tasks = set()
        for number in range(3):
            task = asyncio.create_task(ctx.sleep(number))
            tasks.add(task)
        for task in tasks:
            await task
    """,
    "annotated tasks": """
        import asyncio
        ---
        tasks: set[asyncio.Task[None]] = set()
        tasks.add(asyncio.create_task(ctx.sleep(1)))
        for task in list(tasks):
            task.cancel()
    """,
    "element of a list that was a set": """
        ---
        return "a" in list({"a"})
    """,
    "tasks that a function within adds": """
        import asyncio
        ---
        tasks = set()
        def spawn():
            tasks.add(asyncio.ensure_future(ctx.sleep(1)))
        spawn()
        for task in tasks:
            await task
    """,
    "handles of children and futures": """
        import asyncio
        ---
        for handle in {await ctx.start_child(deploy)}:
            await handle
        for task in {asyncio.ensure_future(ctx.sleep(1)), asyncio.get_running_loop().create_future()}:
            await task
    """,
    "parameter of tasks": """
        import asyncio
        async def join(tasks: set[asyncio.Task[None]]) -> None:
            for task in tasks:
                await task
        ---
        await join({asyncio.create_task(ctx.sleep(1))})
    """,
    "annotations that say nothing": """
        from typing import TypeVar
        def helper(): ...
        Loop = "Loop"
        Loop = Loop | None
        T = TypeVar("T")
        @workflow
        async def deploy(ctx: Context, a: "not a type (", b: helper, c: Loop, d: list[T], e: None, f: unknown) -> None:
            for item in (a, b, c, d, e, f):
                for inner in item:
                    pass
            for item in d:
                list(item)
    """,
    "pop of a list": """
        ---
        names = ["a"]
        names.pop()
        {"a": 1}.pop("a")
    """,
    "function that is called set": """
        def set(names): return names
        ---
        for name in set(["a"]):
            pass
    """,
    "in a step": """
        @step
        def load() -> list[str]:
            return list({"a", "b"})
        ---
        await ctx.step(load)
    """,
    "way out": """
        ---
        with ctx.unguarded():
            ctx.log.info("%s", list({"a", "b"}))
    """,
    "numbers": """
        ---
        for number in [1, 2, 3]:
            5 - number
            5 | number
    """,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_order_of_a_set_is_found(text):
    assert_case(text)


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_set_whose_order_does_not_matter_is_left_alone(text):
    assert_case(text)
