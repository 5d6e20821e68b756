"""Targets that are none: what is wrong, and where in the user's code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import Cli

Write = Callable[[str, str], Path]


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["app.py"], "app.py:hello, app.py:order, app.py:deploy"),
        (["app.py:nothing"], "no workflow 'nothing'"),
        (["app.py:greet"], "'greet' in app.py is a step, not a workflow"),
        (["app.py:log"], "is a Logger, not a workflow"),
        (["missing.py"], "no file missing.py"),
        (["missing_module"], "no module 'missing_module'"),
        (["."], ". is a directory; name a Python file in it, such as app.py"),
        (["./"], "is a directory"),
        ([".."], "is a directory"),
        ([""], "expected a target like app.py, app.py:workflow, module or module:workflow, got ''"),
        ([":hello"], "expected a target like app.py"),
        ([".app"], "expected a target like app.py"),
        (["app..hello"], "expected a target like app.py"),
        (["my app"], "expected a target like app.py"),
        (["app.py:order", "-i", "amount=many"], "expected amount to be"),
        (["app.py:order"], "expected amount to be given"),
        (["app.py:order", "-i", "amount=1", "-i", "colour=red"], "colour"),
        (["app.py:order", "-i", "[1, 2]"], "order"),
        (["app.py:order", "-i", "[1, 2]", "-i", "amount=3"], "takes 1 arguments, got 2"),
        (["app.py:order", "-i", '{"amount": }'], "line 1, column 12"),
        (["app.py:hello", "--id", ""], "non-empty"),
        (["app.py:hello", "--on-conflict", "shrug"], "'attach', 'fail' or 'replace'"),
        (["app.py:hello", "--grace", "long"], "--grace"),
        (["app.py:hello", "--log-level", "loud"], "--log-level"),
        (["app.py:hello", "--log-format", "xml"], "--log-format"),
    ],
)
def test_bad_input_is_told_before_anything_is_stored(cli: Cli, folder: Path, args: list[str], words: str) -> None:
    ran = cli("run", *args)
    assert ran.code == 2, ran.err
    assert words in ran.err
    assert not (folder / ".durable").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", "invalid syntax at"),
        ("import no_such_package\n", "No module named 'no_such_package' at bad.py:1"),
        ("def boom():\n    raise RuntimeError('on fire')\nboom()\n", "RuntimeError: on fire at bad.py:2 in boom"),
        ("raise SystemExit\n", "ends the program while it is imported"),
        ("x = 1\n", "bad.py has no workflow"),
        ("async def plain(ctx): ...\n", "bad.py has no workflow"),
        ("from durable import workflow\n@workflow\ndef sync(ctx): ...\n", "async function"),
        ("from durable import workflow\n@workflow\nasync def none(): ...\n", "takes no context"),
    ],
)
def test_code_that_cannot_be_loaded_names_the_users_line(cli: Cli, write: Write, text: str, words: str) -> None:
    write("bad.py", text)
    ran = cli("run", "bad.py")
    assert ran.code == 2
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_two_workflows_of_one_name_are_refused(cli: Cli, write: Write) -> None:
    write(
        "twice.py",
        """
        from durable import Context, workflow

        @workflow(name="same")
        async def one(ctx: Context) -> None: ...

        @workflow(name="same")
        async def two(ctx: Context) -> None: ...
        """,
    )
    for target in ("twice.py:one", "twice.py"):
        ran = cli("run", target)
        assert ran.code == 2
        assert "two workflows are called 'same'" in ran.err


def test_annotation_that_cannot_be_carried_is_refused(cli: Cli, write: Write) -> None:
    write(
        "strange.py",
        """
        from durable import Context, workflow

        class Thing: ...

        @workflow
        async def strange(ctx: Context, thing: Thing) -> None: ...
        """,
    )
    for command in (["run", "strange.py", "-i", "thing=1"], ["run", "strange.py"], ["start", "strange.py", "-i", "1"]):
        ran = cli(*command)
        assert ran.code == 2
        assert "parameter 'thing' of 'strange': expected Thing to be a type" in ran.err


@pytest.mark.parametrize("name", ["runtime.py", "durable.py"])
def test_target_with_a_name_of_ours_is_refused_with_the_remedy(cli: Cli, write: Write, name: str) -> None:
    write(name, "")
    ran = cli("run", name)
    assert ran.code == 2
    assert "rename the file" in ran.err


@pytest.mark.parametrize("name", ["runtime", "durable"])
@pytest.mark.parametrize("target", ["{}", "{}:mine", "{}.deeper:mine"])
def test_module_with_a_name_of_ours_is_told_from_ours(
    cli: Cli, folder: Path, write: Write, name: str, target: str
) -> None:
    if ".deeper" in target:
        (folder / name).mkdir()
        write(f"{name}/deeper.py", "")
    else:
        write(f"{name}.py", "")
    ran = cli("run", target.format(name))
    assert ran.code == 2
    assert f"not from {name}" in ran.err
    assert f"rename {name}" in ran.err
    assert "docs/limits.md" in ran.err


def test_imported_workflow_does_not_make_the_choice_unclear(cli: Cli, app: Path, write: Write) -> None:
    write(
        "main_one.py",
        """
        from app import hello
        from durable import Context, workflow

        @workflow
        async def mine(ctx: Context) -> str:
            return await ctx.child_workflow(hello, "child")
        """,
    )
    assert cli("run", "main_one.py").out.splitlines()[-1] == "Hello, child!"


def test_module_of_the_working_directory_is_a_target(cli: Cli, app: Path) -> None:
    assert cli("run", "app:hello").code == 0


def test_worker_needs_something_to_serve(cli: Cli, write: Write) -> None:
    assert "needs a target" in cli("worker").err
    write("empty.py", "")
    ran = cli("worker", "empty.py")
    assert ran.code == 2
    assert "neither workflows nor steps" in ran.err


def test_start_of_an_unknown_name_says_what_was_looked_for(cli: Cli) -> None:
    ran = cli("start", "nothing")
    assert ran.code == 2
    assert "published" in ran.err
    assert "no module 'nothing'" in ran.err


@pytest.mark.parametrize("is_marked", [True, False])
def test_module_of_a_package_is_named_as_one(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, is_marked: bool
) -> None:
    package = folder / "shop"
    package.mkdir()
    if is_marked:
        (package / "__init__.py").touch()
    (package / "names.py").write_text("NAME = 'Ada'\n")
    (package / "flows.py").write_text(
        "from durable import Context, workflow\nfrom .names import NAME\n\n"
        "@workflow\nasync def hello(ctx: Context) -> str:\n    return NAME\n"
    )
    ran = cli("run", "shop/flows.py")
    assert ran.code == 2
    assert ran.err.rstrip().endswith("name it as a module, shop.flows")
    assert cli("run", "shop.flows").out.splitlines()[-1] == "Ada"
    monkeypatch.chdir(package)
    assert f"name it as a module, shop.flows, in {folder}" in cli("run", "flows.py").err
