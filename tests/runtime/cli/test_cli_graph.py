"""``durable graph``: of code, of a run, as Mermaid and SVG."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cli.command import Cli

pytestmark = pytest.mark.usefixtures("app")


def test_code_as_mermaid(cli: Cli, folder: Path) -> None:
    ran = cli("graph", "app.py:deploy")
    assert ran.code == 0
    assert ran.out.startswith('flowchart TD\n  n1("deploy")\n')
    assert '"Deploy {version}?<br/>approval"' in ran.out
    assert cli("graph", "app:deploy").out == ran.out
    assert not (folder / ".durable").exists()


def test_code_as_svg_into_a_file(cli: Cli, folder: Path) -> None:
    ran = cli("graph", "app.py:hello", "--format", "svg", "-o", "hello.svg")
    assert (ran.code, ran.out) == (0, "wrote hello.svg\n")
    assert "greet" in {one.text for one in ET.parse(folder / "hello.svg").iter()}
    assert cli("graph", "app.py:hello", "-o", "none/x").code == 2


def test_run_with_what_became_of_it(cli: Cli) -> None:
    cli("run", "app.py:hello", "--id", "h1")
    ran = cli("graph", "h1")
    assert "h1 (hello)" in ran.out
    assert "class n2,n3 done" in ran.out
    data = cli("graph", "h1", "--json").data
    assert [(node["kind"], node["status"]) for node in data["nodes"]] == [("step", "done"), ("end", "done")]
    cli("export", "h1", "-o", "run.json")
    assert cli("graph", "h1", "--file", "run.json").out == ran.out
    assert cli("graph", "h2", "--file", "run.json").code == 3


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["app.py:hello", "--format", "png"], "expected --format to be mermaid or svg"),
        (["nowhere"], "no run 'nowhere'"),
        (["nowhere.py"], "there is no file"),
        (["app.py"], "has several workflows"),
    ],
)
def test_usage(cli: Cli, args: list[str], words: str) -> None:
    ran = cli("graph", *args)
    assert (ran.code, words in ran.err) == (2, True), ran.err
