"""How the context is used: steps and workflows called directly, operations that nobody awaits."""

from textwrap import dedent

import pytest
from lint_case import assert_case, findings_in

CHARGE = """
@step
async def charge(amount: int) -> int: ...
"""

WRONG = {
    "step": """
        ---
        await charge(3)  # !DURL201
    """,
    "step with options": """
        @step(timeout=3)
        def pay(amount): ...
        ---
        pay(3)  # !DURL201
    """,
    "step that was wrapped": """
        def plain(): ...
        pay = step(plain, timeout=3)
        ---
        pay()  # !DURL201
    """,
    "step by another name": """
        from durable import step as activity
        @activity
        def pay(): ...
        ---
        pay()  # !DURL201
    """,
    "step of the package": """
        import durable
        @durable.step(name="pay")
        def pay(): ...
        ---
        pay()  # !DURL201
    """,
    "step that is a method": """
        class Shop:
            @step
            def pay(self): ...
        shop = Shop()
        ---
        shop.pay()  # !DURL201
    """,
    "step in a task group": """
        import anyio
        ---
        async with anyio.create_task_group() as group:
            group.start_soon(charge, 3)  # !DURL201
    """,
    "step in map": """
        import asyncio
        ---
        await asyncio.gather(*map(charge, [1, 2]))  # !DURL201
    """,
    "step in a helper": """
        async def pay(amount):
            return await charge(amount)  # !DURL201
        ---
        await pay(3)
    """,
    "workflow": """
        @workflow
        async def test(ctx: Context): ...
        ---
        await test(ctx)  # !DURL202
    """,
    "workflow with options": """
        @workflow(name="smoke-test")
        async def test(ctx: Context): ...
        ---
        await test(ctx)  # !DURL202
    """,
    "operation as a statement": """
        ---
        ctx.step(charge, 3)  # !DURL203
        ctx.sleep(3)  # !DURL203
        ctx.ask_user("Where?")  # !DURL203
    """,
    "operation in a variable": """
        ---
        receipt = ctx.step(charge, 3)  # !DURL203
    """,
    "operation that is only looked at": """
        ---
        receipt = ctx.step(charge, 3)  # !DURL203
        if receipt == 3:
            ctx.log.info(f"{receipt}")
    """,
    "operation as a value": """
        ---
        if ctx.step(charge, 3) > 2:  # !DURL203
            pass
    """,
    "operation in a condition of a value": """
        ---
        return 1 if ctx.step(charge, 3) else 2  # !DURL203
    """,
    "operations in a tuple that is forgotten": """
        ---
        first, second = ctx.step(charge, 1), ctx.step(charge, 2)  # !DURL203 DURL203
    """,
    "operation that is given a name on the way": """
        ---
        if pending := ctx.step(charge, 3):  # !DURL203
            pass
    """,
    "operation in a calculation": """
        ---
        total = 1 + ctx.step(charge, 3)  # !DURL203
        return total
    """,
    "attribute of an operation": """
        ---
        return ctx.step(charge, 3).bit_length()  # !DURL203
    """,
    "text of an operation": """
        ---
        ctx.log.info(f"{ctx.step(charge, 3)}")  # !DURL203
    """,
    "operations in a list that is forgotten": """
        ---
        pending = [ctx.step(charge, 1), ctx.step(charge, 2)]  # !DURL203 DURL203
    """,
    "operations in a comprehension that is forgotten": """
        ---
        pending = [ctx.step(charge, number) for number in range(3)]  # !DURL203
    """,
    "durable sleep of asyncio": """
        import asyncio
        ---
        asyncio.sleep(3)  # !DURL203
    """,
    "coroutine function of the program": """
        async def pay(): ...
        ---
        pay()  # !DURL203
    """,
    "operation of another run": """
        from durable import Signal
        pause = Signal("pause")
        ---
        ctx.workflow("other").signal(pause)  # !DURL203
        child = await ctx.start_child(deploy)
        child.signal(pause)  # !DURL203
    """,
    "operation in a handler": """
        from durable import Signal
        pause = Signal("pause")
        ---
        @ctx.on(pause)
        async def _():
            ctx.step(charge, 3)  # !DURL203
    """,
    "operation of a context in an object": """
        class Till:
            def __init__(self, ctx: Context):
                self.ctx = ctx
            async def pay(self):
                self.ctx.step(charge, 3)  # !DURL203
        ---
        await Till(ctx).pay()
    """,
    "operation of a context without annotation": """
        async def pay(context, amount):
            context.step(charge, amount)  # !DURL203
        ---
        await pay(ctx, 3)
    """,
    "helper that takes a context": """
        async def pay(c: Context):
            c.step(charge, 3)  # !DURL203
    """,
    "await where the guard is off": """
        ---
        with ctx.unguarded():
            await ctx.step(charge, 3)  # !DURL204
    """,
}

FINE = {
    "awaited": """
        ---
        receipt = await ctx.step(charge, 3)
        await ctx.sleep(3)
        return (await ctx.step(charge, receipt)) + 1
    """,
    "gathered": """
        import asyncio
        ---
        await asyncio.gather(ctx.step(charge, 1), *(ctx.step(charge, number) for number in range(3)))
    """,
    "gathered from a list": """
        import asyncio
        ---
        pending = [ctx.step(charge, number) for number in range(3)]
        pending.append(ctx.step(charge, 4))
        return await asyncio.gather(*pending)
    """,
    "awaited later": """
        ---
        receipt = ctx.step(charge, 3)
        await ctx.sleep(1)
        return await receipt
    """,
    "in a task": """
        import asyncio
        ---
        task = asyncio.create_task(ctx.step(charge, 3))
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step(charge, 3))
        await task
    """,
    "in a task group of anyio": """
        import anyio
        ---
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.step(charge, 3))
            group.start_soon(ctx.sleep, 3)
    """,
    "waited for": """
        import asyncio
        ---
        await asyncio.wait_for(ctx.step(charge, 3), 5)
        await asyncio.wait({asyncio.ensure_future(ctx.step(charge, 3))})
    """,
    "returned": """
        def pay(ctx: Context, amount):
            return ctx.step(charge, amount)
        ---
        return await pay(ctx, 3)
    """,
    "one of two": """
        ---
        return await (ctx.step(charge, 1) if ctx.info.attempt else ctx.step(charge, 2))
    """,
    "one of two in a variable": """
        ---
        pending = ctx.step(charge, 1) if ctx.info.attempt else ctx.step(charge, 2)
        await pending
    """,
    "awaited in a function within": """
        ---
        pending = ctx.step(charge, 1)
        async def wait():
            return await pending
        return await wait()
    """,
    "kept in an object": """
        class Box: ...
        ---
        box, boxes = Box(), {}
        box.pending = ctx.step(charge, 1)
        boxes["pending"] = ctx.step(charge, 2)
        await box.pending
    """,
    "lambda": """
        ---
        pay = lambda amount: ctx.step(charge, amount)
        await pay(3)
    """,
    "lambda of the module": """
        pay = lambda ctx, amount: ctx.step(charge, amount)
        ---
        await pay(ctx, 3)
    """,
    "in a tuple": """
        ---
        first, second = ctx.step(charge, 1), ctx.step(charge, 2)
        return await first + await second
    """,
    "given a name on the way": """
        ---
        both = [first := ctx.step(charge, 1)]
        return await first
    """,
    "nonlocal": """
        ---
        pending = None
        def begin():
            nonlocal pending
            pending = ctx.step(charge, 1)
        begin()
        return await pending
    """,
    "looked at and awaited": """
        ---
        pending = ctx.step(charge, 1) if ctx.info.attempt else None
        if pending is not None and not (pending or None):
            pass
        return await (pending or ctx.step(charge, 2))
    """,
    "kept in a list by a method": """
        ---
        pending = []
        pending.append(ctx.step(charge, 1))
        for one in pending:
            await one
    """,
    "let go": """
        ---
        pending = ctx.step(charge, 1)
        pending.close()
    """,
    "step by the context": """
        ---
        await ctx.step(charge, 3)
        await ctx.step(charge.options(timeout=3), 3)
    """,
    "step in a step": """
        @step
        async def pay():
            return await charge(3)
        ---
        await ctx.step(pay)
    """,
    "step outside workflows": """
        async def test_charge():
            assert await charge(3)
    """,
    "function that is called like a step of another module": """
        class Shop:
            def charge(self, amount): ...
        ---
        Shop().charge(3)
    """,
    "parameter that is called like a step": """
        def pay(charge): return charge(3)
        ---
        pay(lambda amount: amount)
    """,
    "child": """
        @workflow
        async def test(ctx: Context): ...
        ---
        await ctx.child_workflow(test)
        handle = await ctx.start_child(test.options(id="t"))
        return await handle
    """,
    "what needs no await": """
        from durable import Signal
        pause = Signal("pause")
        ---
        ctx.compensate(charge, 3)
        ctx.publish("a", 1)
        ctx.set_attributes(a=1)
        ctx.stream("a").write(1)
        ctx.log.info("a")
        async for _ in ctx.signals(pause):
            break
        async with ctx.saga():
            pass
        ctx.continue_as_new()
    """,
    "fire and forget of a signal": """
        import asyncio
        from durable import Signal
        pause = Signal("pause")
        ---
        asyncio.create_task(ctx.workflow("other").signal(pause))
        (await ctx.start_child(deploy)).cancel()
    """,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_misuse_is_found(text):
    assert_case(CHARGE + dedent(text))


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_right_use_is_left_alone(text):
    assert_case(CHARGE + dedent(text))


def test_remedy_names_the_step():
    (finding,) = findings_in("@step\ndef charge(): ...\n---\ncharge()\n")
    assert finding.remedy == "write: await ctx.step(charge, ...)"
