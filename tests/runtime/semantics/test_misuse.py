"""What authors get wrong, and what they are told."""

from __future__ import annotations

import pytest

from durable import Context, Query, Signal, Update, step, workflow
from durable.errors import MessageRejectedError, QueryFailedError, UpdateFailedError

pytestmark = pytest.mark.anyio

go = Signal("go", bool)
add = Update("add", int, returns=int)
peek = Query("peek", int)


@step
def one(number: int) -> int:
    return number


# -- validators and queries -------------------------------------------------------------------------------


@workflow(messages=[add, peek])
async def remembers_where_it_checks(ctx: Context) -> list[int]:
    seen: list[int] = []
    taken: list[int] = []

    @ctx.on(add)
    async def added(number: int) -> int:
        taken.append(number)
        return number

    @added.validator
    def check(number: int) -> None:
        if number in taken:
            raise ValueError("twice")
        if number > 9:
            seen.append(number)

    @ctx.on(peek)
    def look() -> int:
        if len(taken) > 1:
            taken.pop()
        return len(taken)

    await ctx.wait_signal(go)
    return [await ctx.step(one, number) for number in (*seen, *taken)]


async def test_a_validator_or_query_that_changes_a_variable_is_refused(open_runtime):
    """Semantics 18, 19: queries and validators change nothing, not even a variable of the workflow; the run goes on without it."""
    async with open_runtime(remembers_where_it_checks) as rt:
        run = await rt.start(remembers_where_it_checks)
        assert await run.update(add, 1) == 1
        with pytest.raises(UpdateFailedError, match=r"changed the variable 'seen' at semantics/test_misuse\.py:"):
            await run.update(add, 10)
        with pytest.raises(MessageRejectedError, match="twice"):
            await run.update(add, 1)
        assert await run.query(peek) == 1
        assert await run.update(add, 2) == 2
        for _ in range(2):
            with pytest.raises(QueryFailedError, match=r"changed the variable 'taken' at semantics/test_misuse\.py:"):
                await run.query(peek)
        await run.signal(go, True)
        assert await run.result(timeout=30) == [1, 2]
