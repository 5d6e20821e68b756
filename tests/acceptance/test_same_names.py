"""One program, run as a script, by the command and by a worker that imports it: names of workflows, steps and exceptions agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from acceptance.process import durable, environment

APP = """
import asyncio

from durable import Context, Signal, step, workflow
from runtime import Runtime

go = Signal("go", int)


class Declined(Exception):
    pass


@step
async def charge(card: str) -> None:
    raise Declined(card)


@workflow(messages=[go])
async def order(ctx: Context) -> str:
    said = []
    for _ in range(3):
        try:
            await ctx.step(charge, "4000")
        except Declined as error:
            said.append(f"{type(error).__name__} {error}")
        await ctx.wait_signal(go)
    return ", ".join(said)


async def main() -> None:
    async with Runtime("sqlite:///s.db", workflows=[order]) as runtime:
        run = await runtime.start(order.options(id="x"))
        await run.until_waiting("go", timeout=60)


if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_run_goes_on_in_whatever_way_its_program_is_run(tmp_path: Path) -> None:
    """Rule H3: what ``python app.py`` recorded is found by ``durable run app.py`` and by a worker that imports ``app``."""
    (tmp_path / "app.py").write_text(APP)
    store = ("--store", "sqlite:///s.db")
    subprocess.run([sys.executable, "app.py"], cwd=tmp_path, env=environment(), check=True, timeout=60)
    assert durable(tmp_path, "signal", "x", "go", "1", *store).returncode == 0
    by_script = "import asyncio, app; asyncio.run(app.main())"
    subprocess.run([sys.executable, "-c", by_script], cwd=tmp_path, env=environment(), check=True, timeout=60)
    for value in ("2", "3"):
        assert durable(tmp_path, "signal", "x", "go", value, *store).returncode == 0
    done = durable(tmp_path, "run", "app.py", "--id", "x", *store)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Declined 4000, Declined 4000, Declined 4000" in done.stdout
