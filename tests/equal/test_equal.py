"""The same scenarios in the harness and in a worker, in memory and replayed: histories are equal up to ids and times.

Orders are not normalised: what runs at the same time in a scenario ends in the order in which it began, or at instants of its own.
"""

from __future__ import annotations

import json

import pytest

from equal.scenarios import SCENARIOS, WORKFLOWS
from equal.world import WORLDS, World

pytestmark = pytest.mark.anyio

REFERENCE = "harness"


async def play(name: str, where: str) -> str:
    """What a scenario leaves in a world, as text."""
    scenario = SCENARIOS[name]
    async with WORLDS[where](WORKFLOWS) as world:
        said = await _drive(scenario, world)
        return json.dumps({"said": said, "runs": await world.record()}, indent=1, default=str)


async def _drive(scenario, world: World):
    run = await world.start(scenario.definition.options(id="run"), *scenario.arguments)
    return await scenario.drive(world, run)


@pytest.mark.parametrize("where", [where for where in WORLDS if where != REFERENCE])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_leaves_the_same_everywhere(name, where):
    expected = await play(name, REFERENCE)
    assert await play(name, where) == expected
