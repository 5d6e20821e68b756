"""The smallest workflow.

durable run examples/hello.py --input name=world
"""

from durable import Context, step, workflow


@step
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow
async def hello(ctx: Context, name: str = "world") -> str:
    return await ctx.step(greet, name)
