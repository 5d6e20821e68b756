"""An order: steps, a fan-out, a retry and a durable sleep. It ends by itself in a few seconds.

    durable run examples/order.py --input customer=acme --id order-1

Kill it while it sleeps (Ctrl-C, or ``kill -9``) and run the same command again: it goes on where it was, and nothing that
was done is done twice.
"""

import asyncio
from datetime import timedelta

from durable import Context, RetryPolicy, step, step_info, workflow

PRICES = {"anvil": 120, "rocket": 950, "spring": 15}


@step
async def reserve(item: str) -> int:
    """Reserve one item; returns its price."""
    await asyncio.sleep(0.1)  # steps may do what they like: this is a slow warehouse
    return PRICES[item]


@step(retry=RetryPolicy(max_attempts=5, initial_interval=0.3))
async def charge(customer: str, amount: int) -> str:
    """Charge the customer; the payment provider is unreliable and fails twice."""
    info = step_info()
    if info.attempt < 3:
        raise ConnectionError(f"the payment provider is not reachable (attempt {info.attempt})")
    return f"paid {amount} by {customer}, receipt {info.idempotency_key[-8:]}"


@step
def ship(customer: str, items: list[str]) -> str:
    """A plain function is a step as well; it runs in a thread."""
    return f"{len(items)} items to {customer}"


@workflow
async def order(ctx: Context, customer: str, items: list[str] | None = None) -> str:
    items = items or ["anvil", "rocket", "spring"]
    prices = await asyncio.gather(*(ctx.step(reserve, item) for item in items))
    receipt = await ctx.step(charge, customer, sum(prices))
    ctx.log.info("%s; shipping soon", receipt)
    await ctx.sleep(timedelta(seconds=2))  # durable: kill me now, and run me again with --id
    return await ctx.step(ship, customer, items)
