"""A loop in the manner of an agent: think, act, and ask a person when unsure. The thinking here is a table.

durable run examples/agent.py --input goal="book a table"
"""

from typing import Literal

from pydantic import BaseModel

from durable import Context, step, workflow


class Thought(BaseModel):
    action: Literal["search", "ask", "finish"]
    text: str


@step
async def think(goal: str, notes: list[str]) -> Thought:
    """Stands for a call of a model; its answer is recorded, so a replay costs nothing."""
    if not notes:
        return Thought(action="search", text=goal)
    if len(notes) == 1:
        return Thought(action="ask", text=f"I found {notes[0]}. For how many people?")
    return Thought(action="finish", text=f"{goal}: {', '.join(notes)}")


@step
async def search(query: str) -> str:
    return f"two places for {query!r}"


@workflow
async def agent(ctx: Context, goal: str) -> str:
    notes: list[str] = []
    for _ in range(10):
        thought = await ctx.step(think, goal, notes)
        ctx.publish("thought", thought)
        if thought.action == "finish":
            return thought.text
        if thought.action == "search":
            notes.append(await ctx.step(search, thought.text))
        else:
            people = await ctx.ask_user(thought.text, int, key=f"question-{len(notes)}")
            notes.append(f"{people} people")
    return "gave up"
