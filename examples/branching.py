"""Branches, loops and errors are plain Python.

durable run examples/branching.py --input amount=1200
"""

from durable import Context, StepError, step, workflow


class TooRisky(Exception):
    pass


@step
async def score(amount: int) -> int:
    return min(100, amount // 20)


@step
async def approve_automatically(amount: int) -> str:
    if amount > 1000:
        raise TooRisky(f"{amount} is too much to approve without a person")
    return "approved by the rules"


@workflow
async def credit(ctx: Context, amount: int) -> str:
    risk = await ctx.step(score, amount)
    if risk < 10:
        return "approved at once"
    try:
        return await ctx.step(approve_automatically, amount)
    except TooRisky as error:
        ctx.log.warning("%s", error)
    except StepError:
        return "try again tomorrow"
    for limit in (1000, 500, 100):
        if await ctx.step(score, limit) < 60:
            return f"approved up to {limit}"
    return "declined"
