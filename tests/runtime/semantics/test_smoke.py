import pytest
from durable import *
pytestmark = pytest.mark.anyio

@step
async def add(a: int, b: int) -> int:
    return a+b

@workflow
async def wf(ctx: Context, n: int) -> int:
    t=0
    for i in range(n):
        t = await ctx.step(add, t, i)
    return t

async def test_x(open_runtime):
    async with open_runtime(wf) as rt:
        h = await rt.start(wf, 5)
        assert await h.result(timeout=10) == 10
