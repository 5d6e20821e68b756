"""The plugin, in a directory of its own without any configuration."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
    import os
    import pytest
    from durable import Context, Signal, step, workflow
    from durable.testing import WorkflowEnvironment, assert_history

    @step
    async def greet(name: str) -> str:
        return f"hello {name}"

    NAMES = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"}
    begun = []

    @workflow
    async def good(ctx: Context, name: str) -> str:
        await ctx.sleep(3600)
        return await ctx.step(greet, name)

    @workflow
    async def by_hash(ctx: Context) -> None:
        for name in NAMES:
            await ctx.step(greet, name)

    @workflow
    async def by_state(ctx: Context) -> None:
        begun.append(1)
        if len(begun) > 1:
            await ctx.sleep(1)
        await ctx.step(greet, "x")
"""


@pytest.fixture
def run_tests(tmp_path: Path):
    def run(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        lines = (HEAD + body).splitlines()
        (tmp_path / "test_it.py").write_text("\n".join(line[4:] for line in lines))
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments, "test_it.py"],
            cwd=tmp_path, capture_output=True, text=True, timeout=100, env=environment,
        )  # fmt: skip

    return run


def test_async_tests_need_neither_mark_nor_configuration(run_tests):
    done = run_tests("""
    async def test_good(durable_env):
        durable_env.allow(greet)
        assert await durable_env.execute(good, "ada") == "hello ada"

    @pytest.mark.anyio
    async def test_marked(durable_env):
        durable_env.stub(greet, returns="x")
        assert await durable_env.execute(good, "ada") == "x"
    """)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize(
    "order", [(), ("-p", "anyio"), ("-p", "durable")], ids=["as installed", "anyio first", "ours first"]
)
def test_tests_with_parameters_in_classes_and_through_other_fixtures_run_whichever_plugin_is_first(run_tests, order):
    done = run_tests(
        """
    @pytest.fixture
    def shop(durable_env):
        durable_env.stub(greet, lambda name: name)
        return durable_env

    @pytest.mark.parametrize("name", ["ada", "bob"])
    async def test_parameters(shop, name):
        assert await shop.execute(good, name) == name

    class TestIt:
        @pytest.fixture(autouse=True)
        def prepared(self, durable_env):
            durable_env.stub(greet, returns="x")
            self.env = durable_env

        @pytest.mark.parametrize("name", ["ada", "bob"])
        async def test_in_a_class(self, name):
            assert await self.env.execute(good, name) == "x"
    """,
        *order,
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_what_asyncio_is_to_run_is_left_to_it(run_tests):
    done = run_tests("""
    pytestmark = pytest.mark.asyncio

    async def test_theirs(durable_env):
        pass
    """)
    assert "[asyncio]" not in done.stdout


def test_a_nondeterministic_workflow_fails_its_first_test_with_both_sides_named(run_tests):
    done = run_tests("""
    async def test_state(durable_env):
        durable_env.allow_all()
        await durable_env.execute(by_state)
    """)
    assert "1 failed" in done.stdout
    assert "'by_state-1' does not replay" in done.stdout
    assert "recorded:  step('greet')" in done.stdout
    assert "requested: sleep" in done.stdout
    assert "test_it.py:" in done.stdout
    assert "timeline of by_state-1" in done.stdout


@pytest.mark.parametrize("own", [False, True], ids=["fixture", "environment of the test's own"])
def test_what_depends_on_the_hash_seed_fails_its_first_test(run_tests, own):
    body = """
    async def test_hash(durable_env):
        OWN
        durable_env.allow_all()
        await durable_env.execute(by_hash)
    """
    done = run_tests(body.replace("OWN", "durable_env = WorkflowEnvironment()" if own else "pass"))
    assert "1 failed" in done.stdout
    assert "does not replay in a process with another hash seed" in done.stdout
    assert "the input differs from the recorded one" in done.stdout


def test_what_cannot_be_replayed_elsewhere_is_named(run_tests):
    done = run_tests("""
    async def test_local(durable_env):
        @workflow
        async def local(ctx: Context) -> int:
            return 1

        assert await durable_env.execute(local) == 1
    """)
    assert "1 passed" in done.stdout
    assert "not replayed in a process with another hash seed" in done.stdout
    assert "local: it is defined inside a function" in done.stdout


def test_a_distributed_run_names_it_too(run_tests):
    done = run_tests(
        """
    async def test_local(durable_env):
        @workflow
        async def local(ctx: Context) -> int:
            return 1

        assert await durable_env.execute(local) == 1
    """,
        "-n",
        "2",
    )
    assert "local: it is defined inside a function" in done.stdout


def test_a_failed_assertion_shows_the_timeline(run_tests):
    done = run_tests("""
    async def test_wrong(durable_env):
        durable_env.allow(greet)
        assert await durable_env.execute(good, "ada") == "bye"
    """)
    assert "1 failed" in done.stdout
    assert "timeline of good-1" in done.stdout
    assert '✓ step greet {"name":"ada"}  → "hello ada"' in done.stdout


def test_goldens_are_written_and_compared(run_tests, tmp_path):
    body = """
    async def test_golden(durable_env):
        durable_env.stub(greet, returns=os.environ.get("ANSWER", "x"))
        run = await durable_env.start(good, "ada")
        await run.result()
        assert_history(run, "golden.json")
    """
    assert "1 failed" in run_tests(body).stdout
    assert "1 passed" in run_tests(body, "--durable-update-goldens").stdout
    assert '{"kind":"RunCompleted","value":"x"}' in (tmp_path / "golden.json").read_text()
    assert "1 passed" in run_tests(body).stdout


def test_a_marked_test_returns_the_workflow_that_is_explored(run_tests):
    done = run_tests("""
    def greeted_once(run):
        count = len(run.calls(greet))
        return None if count < 2 else f"greeted {count} times"

    @pytest.mark.durable_explore
    async def test_right(durable_env):
        durable_env.stub(greet, returns="x")
        return good.bind("ada")

    @pytest.mark.durable_explore(invariants=[greeted_once])
    async def test_wrong(durable_env):
        durable_env.stub(greet, returns="x")
        return good.bind("ada")

    @pytest.mark.durable_explore
    def test_misplaced():
        pass
    """, "--strict-markers")  # fmt: skip
    assert "2 failed, 1 passed" in done.stdout, done.stdout
    assert "greeted 2 times" in done.stdout
    assert "reproduce: explore(..., seed='crash=" in done.stdout
    assert "return workflow.bind(...)" in done.stdout


def test_a_script_without_a_guard_starts_one_other_process_and_no_more(tmp_path):
    (tmp_path / "script.py").write_text(
        "import asyncio\n"
        "from durable import Context, workflow\n"
        "from durable.testing import WorkflowEnvironment\n"
        "print('imported', flush=True)\n"
        "@workflow\n"
        "async def flow(ctx: Context) -> int:\n"
        "    return 1\n"
        "async def main():\n"
        "    async with WorkflowEnvironment() as env:\n"
        "        await env.execute(flow)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("imported") == 2
