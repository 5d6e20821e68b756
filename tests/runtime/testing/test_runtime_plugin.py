"""The fixture ``durable_runtime``, in a directory of its own without any configuration."""

import os
import subprocess
import sys
from textwrap import dedent

TESTS = dedent("""
    import pytest
    from durable import Context, step, workflow

    @step
    async def greet(name: str) -> str:
        return f"hello {name}"

    @workflow
    async def patient(ctx: Context, name: str) -> str:
        await ctx.sleep(30 * 86400)
        return await ctx.step(greet, name)

    @workflow
    async def busy(ctx: Context) -> None:
        await ctx.sleep(1)
        raise ValueError("no")

    async def test_finishes(durable_runtime):
        run = await durable_runtime.start(patient, "ada")
        assert await durable_runtime.finish(run) == "hello ada"

    async def test_another_beside_the_harness(durable_runtime, durable_env):
        durable_env.allow(greet)
        run = await durable_runtime.start(patient, "ada")
        assert await durable_runtime.finish(run) == await durable_env.execute(patient, "ada")

    async def test_fails(durable_runtime):
        await durable_runtime.finish(await durable_runtime.start(busy))
""")


def test_the_fixture_needs_neither_mark_nor_configuration(tmp_path):
    (tmp_path / "test_it.py").write_text(TESTS)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "test_it.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, env={**kept, "TMPDIR": str(scratch)},
    )  # fmt: skip
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "RunFailedError" in done.stdout
    assert list(scratch.iterdir()) == []
