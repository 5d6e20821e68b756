"""Pictures of code: each way of writing a workflow gives the operations, branches and loops that it has."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent, indent
from xml.etree import ElementTree as ET

import pytest

from durable.errors import DefinitionError
from durable.graph import Branch, Group, Operation, Picture, draw_code, to_mermaid, to_svg
from durable.graph.shape import operations

EXAMPLES = Path(__file__).parents[3] / "examples"

HEAD = """
@step(compensate=undo)
async def book(n): ...

async def helper(c, n):
    await c.sleep(n)
    return await c.step(page, n)

async def again(ctx):
    await ctx.step(page)
    await again(ctx)

async def no_context(n):
    return n
"""


def draw(body: str) -> Picture:
    source = HEAD + "\nasync def flow(ctx, n):\n" + indent(dedent(body), "    ")
    return draw_code(source, "flow")


def told(nodes) -> list:
    """A picture in short: labels, and lists for groups."""
    return [
        node.label
        if isinstance(node, Operation)
        else (node.kind, node.label, *((branch.label, told(branch.nodes)) for branch in node.branches))
        for node in nodes
    ]


@pytest.mark.parametrize(
    ("line", "kind", "label", "note"),
    [
        ("await ctx.step(charge, 1)", "step", "charge", ""),
        ("x = await ctx.step(shop.charge.options(timeout=3), 1)", "step", "shop.charge", ""),
        ("x: int = await ctx.step(step(charge, name='x'), 1)", "step", "charge", ""),
        ("await ctx.step(book, 1)", "step", "book", "undone by undo"),
        ("await ctx.step(charge.options(compensate=refund), 1)", "step", "charge", "undone by refund"),
        ("await ctx.child_workflow(child.options(id='x'))", "child", "child", ""),
        ("handle = await ctx.start_child(child)", "child", "child", ""),
        ("await ctx.sleep(timedelta(days=30))", "timer", "sleep timedelta(days=30)", ""),
        ("await ctx.sleep_until(when)", "timer", "sleep until when", ""),
        ("await ctx.ask_user(f'How many {n}?', int)", "question", "How many {n}?", "answer"),
        ("d = await ctx.ask_approval('Deploy?', timeout=3)", "question", "Deploy?", "approval"),
        ("await ctx.wait_signal(go)", "signal", "signal go", ""),
        ("await ctx.wait_signal(Signal('stop', int))", "signal", "signal stop", ""),
        ("await ctx.wait_condition(lambda: n > 3)", "condition", "until n > 3", ""),
        ("await ctx.workflow('other').signal(go, 1)", "message", "signal go", ""),
        ("ctx.compensate(refund, 1)", "undo", "undo later: refund", ""),
        ("await ctx.rollback()", "rollback", "roll back", ""),
    ],
)
def test_each_operation_is_named(line: str, kind: str, label: str, note: str):
    assert draw(line).nodes == [Operation(kind, label, note), Operation("end", "end")]


def test_what_is_no_operation_is_left_out():
    assert told(draw("x = ctx.now()\nfor i in range(3):\n    print(i)\nif n:\n    x = 1\nctx.log.info('x')").nodes) == [
        "end"
    ]


def test_branches():
    nodes = draw(
        "if n > 3:\n    await ctx.step(a)\nelif n:\n    return 1\nelse:\n    await ctx.step(b)\nawait ctx.step(c)"
    ).nodes
    inner = ("choice", "if n", ("yes", ["return"]), ("no", ["b"]))
    assert told(nodes) == [("choice", "if n > 3", ("yes", ["a"]), ("no", [inner])), "c", "end"]


def test_match():
    nodes = draw("match n:\n    case 1:\n        await ctx.step(a)\n    case _:\n        raise ValueError('x')").nodes
    assert told(nodes) == [("choice", "match n", ("1", ["a"]), ("_", ["raise ValueError"])), "end"]


def test_condition_that_asks_comes_before_its_branches():
    assert told(draw("if await ctx.step(a):\n    await ctx.step(b)").nodes)[0] == "a"
    assert told(draw("x = await ctx.step(a) if n else await ctx.step(b)").nodes)[0] == (
        "choice", "if n", ("yes", ["a"]), ("no", ["b"]),
    )  # fmt: skip


def test_loops():
    nodes = draw("while n:\n    await ctx.step(a)\n    if n == 2:\n        break\n    continue").nodes
    assert told(nodes)[0] == (
        "loop", "while n", ("", ["a", ("choice", "if n == 2", ("yes", ["break"]), ("no", [])), "continue"]),
    )  # fmt: skip
    assert told(draw("for i in n:\n    await ctx.step(a)").nodes)[0] == ("loop", "for i in n", ("", ["a"]))
    assert told(draw("async for s in ctx.signals(go):\n    await ctx.step(a)").nodes)[0][2] == ("", ["signal go", "a"])
    assert told(draw("x = [await ctx.step(a, i) for i in n]").nodes)[0] == ("loop", "for i in n", ("", ["a"]))


@pytest.mark.parametrize(
    "body",
    [
        "await asyncio.gather(ctx.step(a), ctx.step(b))",
        "async with asyncio.TaskGroup() as tg:\n    tg.create_task(ctx.step(a))\n    tg.create_task(ctx.step(b))",
        "async with anyio.create_task_group() as tg:\n    tg.start_soon(ctx.step(a))\n    tg.start_soon(ctx.step(b))",
    ],
)
def test_what_goes_on_at_once(body: str):
    assert told(draw(body).nodes)[0] == ("parallel", "at once", ("", ["a"]), ("", ["b"]))


def test_many_of_one_step_at_once():
    loop = ("loop", "for i in n", ("", ["a"]))
    assert told(draw("await asyncio.gather(*[ctx.step(a, i) for i in n])").nodes)[0] == (
        "parallel",
        "at once",
        ("", [loop]),
    )
    assert told(draw("await asyncio.gather(ctx.step(a))").nodes)[0] == "a"


def test_frames():
    assert told(draw("async with asyncio.timeout(5):\n    await ctx.step(a)").nodes)[0] == (
        "limit",
        "within 5 s",
        ("", ["a"]),
    )
    assert told(draw("with anyio.fail_after(5):\n    await ctx.step(a)").nodes)[0] == (
        "limit",
        "within 5 s",
        ("", ["a"]),
    )
    assert told(draw("await asyncio.wait_for(ctx.step(a), 5)").nodes)[0] == ("limit", "within 5 s", ("", ["a"]))
    assert told(draw("async with ctx.saga():\n    await ctx.step(a)").nodes)[0][0] == "saga"
    assert told(draw("with suppress(ValueError):\n    await ctx.step(a)").nodes)[0] == "a"


def test_failures():
    nodes = draw(
        "try:\n    await ctx.step(a)\nexcept (ValueError, KeyError):\n    await ctx.step(b)\nfinally:\n    await ctx.step(c)"
    ).nodes
    assert told(nodes) == [("try", "try", ("", ["a"]), ("except (ValueError, KeyError)", ["b"])), "c", "end"]
    assert told(draw("try:\n    x = 1\nfinally:\n    await ctx.step(c)").nodes) == ["c", "end"]


def test_functions_that_are_given_the_context_are_drawn_where_they_are_called():
    assert told(draw("await helper(ctx, n)").nodes)[0] == ("helper", "helper", ("", ["sleep n", "page"]))
    inner = [node.label for node in operations(draw("return await helper(ctx, n)").nodes)]
    assert inner == ["sleep n", "page", "return"]
    assert [node.label for node in operations(draw("await again(ctx)\nno_context(n)").nodes)] == ["page", "end"]
    assert (
        told(draw("async with asyncio.TaskGroup() as tg:\n    tg.create_task(helper(ctx, 1))").nodes)[0][0] == "helper"
    )


def test_inner_functions_see_the_context():
    nodes = draw("async def part(k):\n    await ctx.step(a, k)\nawait part(1)").nodes
    assert told(nodes)[0] == ("helper", "part", ("", ["a"]))


def test_handlers_stand_beside():
    picture = draw("@ctx.on(go)\nasync def handle(x):\n    await ctx.step(a)\nawait ctx.step(b)")
    assert told(picture.nodes) == ["b", "end"]
    assert [(branch.label, told(branch.nodes)) for branch in picture.handlers] == [("on go", ["a"])]


def test_nothing_is_drawn_behind_an_end():
    assert told(draw("return 1\nawait ctx.step(a)").nodes) == ["return"]
    assert told(draw("ctx.continue_as_new(n)\nawait ctx.step(a)").nodes) == ["continue as new"]
    assert told(draw("if n:\n    return 1\nelse:\n    raise ValueError\nawait ctx.step(a)").nodes)[1:] == []


def test_function_by_name_and_line():
    source = "async def flow(c):\n    await c.step(a)\n\nasync def flow(c):\n    await c.step(b)\n"
    assert told(draw_code(source, "flow", 4).nodes) == ["b", "end"]
    with pytest.raises(DefinitionError, match="no function 'other'"):
        draw_code(source, "other")
    with pytest.raises(DefinitionError, match="cannot be parsed"):
        draw_code("def x(:", "x")


EVERYTHING = """
@ctx.on(go)
async def handle(x):
    await ctx.step(a)
if n > 3:
    await ctx.ask_approval('Is "this" <ok> & fine #1?')
for i in n:
    if await ctx.step(book):
        break
    continue
await asyncio.gather(ctx.step(a), ctx.child_workflow(b))
try:
    async with asyncio.timeout(5):
        await ctx.wait_signal(go)
except TimeoutError:
    await ctx.rollback()
"""


def test_mermaid_names_every_node_once_and_connects_them():
    text = to_mermaid(draw(EVERYTHING))
    lines = text.splitlines()
    assert lines[0] == "flowchart TD"
    declared = re.findall(r"^\s*(n\d+)[\[({>]", text, re.MULTILINE)
    assert len(declared) == len(set(declared))
    for source, target in re.findall(r"(n\d+) -(?:- \".*\" -)?->\s?(n\d+)", text):
        assert {source, target} <= set(declared)
    assert text.count("subgraph") == text.count("\n  end") + text.count("\n    end")
    assert "Is #quot;this#quot; #lt;ok#gt; & fine #35;1?" in text


def test_svg_is_well_formed_and_holds_every_label():
    picture = draw(EVERYTHING)
    root = ET.fromstring(to_svg(picture))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {node.label for node in operations(picture.nodes)} <= texts
    assert 'Is "this" <ok> & fine #1?' in texts
    assert float(root.attrib["width"]) > 0


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_examples_are_drawn(file: Path):
    source = file.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AsyncFunctionDef) and any(
            "workflow" in ast.unparse(one) for one in node.decorator_list
        ):
            picture = draw_code(source, node.name)
            assert list(operations(picture.nodes))
            ET.fromstring(to_svg(picture))
            assert to_mermaid(picture).startswith("flowchart TD")


def test_group_of_nothing_is_told():
    picture = Picture("p", [Group("choice", "if x", [Branch("yes", []), Branch("no", [])])])
    assert "nothing" in to_svg(picture)
