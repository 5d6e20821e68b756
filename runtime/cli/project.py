"""``durable init``: a small working project to begin with."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from runtime.cli.options import Json

APP: Final = '''\
"""A first workflow: a step that may fail, a durable pause, a question to a person."""

from datetime import timedelta

from durable import Context, RetryPolicy, step, workflow


@step(retry=RetryPolicy(max_attempts=5, initial_interval=1))
async def build(version: str) -> str:
    """Steps do the work: network, files, anything. A step that succeeded is never run again."""
    return f"artifact-{version}"


@step
async def publish(artifact: str) -> str:
    return f"{artifact} is live"


@workflow
async def release(ctx: Context, version: str = "v1") -> str:
    """Workflows decide. This function survives crashes: run it again with the same id, and it goes on."""
    artifact = await ctx.step(build, version)
    await ctx.sleep(timedelta(seconds=1))
    decision = await ctx.ask_approval(f"Publish {artifact}?", key="publish", timeout=timedelta(days=7))
    ctx.log.info("approved by %s", decision.by)
    return await ctx.step(publish, artifact)
'''

TEST: Final = '''\
"""Steps are plain functions in tests; a workflow runs in a Runtime on a store in memory."""

import asyncio

from app import build, release
from runtime import Runtime


def test_build_names_the_artifact() -> None:
    assert asyncio.run(build("v2")) == "artifact-v2"


def test_release_publishes_after_approval() -> None:
    async def scenario() -> str:
        async with Runtime("memory://", workflows=[release]) as runtime:
            run = await runtime.start(release, "v2")
            await run.until_waiting("approval", timeout=30)
            await run.approve(by="alice")
            return await run.result(timeout=30)

    assert asyncio.run(scenario()) == "artifact-v2 is live"
'''

PYPROJECT: Final = """\
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["durable"]

[tool.durable]
store = "{store}"
targets = ["app.py"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""

DEFAULT_STORE: Final = "sqlite:///.durable/durable.db"

IGNORED: Final = ".durable/\n__pycache__/\n"


OwnStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Where the project keeps its runs; a relative path counts from its directory. Default: its own .durable/durable.db.",
        show_default=False,
    ),
]
"""Not the store of the directory in which the command is given: that one is another project's."""


def init(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where; it is made if it does not exist.", show_default=False)
    ] = ".",
    own_store: OwnStore = None,
    as_json: Json = False,
) -> None:
    """Write a small working project.

    It has a workflow, its test, and the configuration. Files that exist are never overwritten.
    """
    import re
    from pathlib import Path

    from durable.errors import ConfigurationError
    from runtime.cli.output import Output

    home = Path(folder).resolve()
    name = re.sub(r"[^a-z0-9]+", "-", home.name.lower()).strip("-") or "app"
    files = {
        "app.py": APP,
        "test_app.py": TEST,
        "pyproject.toml": PYPROJECT.format(name=name, store=own_store or DEFAULT_STORE),
        ".gitignore": IGNORED,
    }
    taken = [file for file in files if (home / file).exists()]
    if taken:
        raise ConfigurationError(f"{home} has {', '.join(taken)} already; nothing was written")
    try:
        home.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (home / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write the project to {home}: {error.strerror}") from error
    output = Output(as_json=as_json)
    if as_json:
        output.data({"folder": str(home), "files": list(files)})
        return
    output.line(f"wrote {', '.join(files)} to {home}")
    output.line("next:")
    for command in ([f"cd {folder}"] if folder != "." else []) + [
        "durable run app.py --input version=v1",
        "durable list",
    ]:
        output.line("  ", (command, "waiting"))
