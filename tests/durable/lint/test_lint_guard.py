"""What the guard stops at run time the linter finds in the source: the guard's own tests are its cases."""

import ast
from pathlib import Path

import pytest

from durable.kernel.refusal import refused_methods
from durable.lint import check_sources

KERNEL = Path(__file__).parents[1] / "kernel"

AT_THE_GUARD = {
    "own generator": "the guard allows a global generator, which runs of one worker share: DURL402",
}
"""What the guard leaves alone and the linter does not."""


def table(file: str, name: str) -> dict[str, ast.expr]:
    """The entries of a dict that a test module writes out."""
    tree = ast.parse((KERNEL / file).read_text())
    (found,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name
    ]
    assert isinstance(found, ast.Dict)
    return {key.value: value for key, value in zip(found.keys, found.values, strict=True)}


def codes_in(file: str, body: str) -> list[str]:
    """What the linter finds when a workflow does something beside what a test module defines."""
    source = (KERNEL / file).read_text()
    program = f"{source}\nfrom durable import workflow\n\n@workflow\nasync def deploy(ctx):\n    {body}\n"
    return [finding.code for finding in check_sources({"app.py": program}).findings]


def body_of(case: ast.expr) -> str:
    """What a lambda does."""
    function = case.elts[0] if isinstance(case, ast.Tuple) else case
    assert isinstance(function, ast.Lambda)
    return ast.unparse(function.body)


@pytest.mark.parametrize(("call", "case"), table("test_guard.py", "EXPRESSIONS").items())
def test_call_that_the_guard_stops_is_found(call, case):
    assert codes_in("test_guard.py", body_of(case)), call


@pytest.mark.parametrize("case", table("test_guard.py", "CALLS").values(), ids=table("test_guard.py", "CALLS"))
def test_call_is_found_however_it_is_written(case):
    assert isinstance(case, ast.Tuple)
    assert codes_in("test_guard.py", f"await {ast.unparse(case.elts[0])}()")


@pytest.mark.parametrize(("effect", "case"), table("test_guard_effects.py", "EFFECTS").items())
def test_effect_that_the_guard_stops_is_found(effect, case):
    assert codes_in("test_guard_effects.py", body_of(case)), effect


@pytest.mark.parametrize(("name", "case"), table("test_guard.py", "HARMLESS").items())
def test_what_the_guard_leaves_alone_is_left_alone(name, case):
    assert bool(codes_in("test_guard.py", body_of(case))) is (name in AT_THE_GUARD)


@pytest.mark.parametrize("method", refused_methods())
def test_method_that_the_loop_refuses_is_found(method):
    body = f"loop = asyncio.get_running_loop(); loop.{method}()"
    assert codes_in("test_guard.py", body) == ["DURL111"]


REFUSED = table("test_loop_refusal.py", "REFUSED") | table("test_loop_refusal.py", "NESTED")
del REFUSED["anyio wait_readable"]  # no rule names it; at run time the loop's method that it calls is refused


@pytest.mark.parametrize(("name", "case"), REFUSED.items())
def test_what_the_loop_refuses_is_found(name, case):
    assert isinstance(case, ast.Tuple)
    function = case.elts[0]
    if isinstance(function, ast.Lambda) and isinstance(function.body, ast.Call):
        body = ast.unparse(function.body)
        if isinstance(function.body.func, ast.Name):  # call(method, ...) is how the test calls methods of the loop
            method, *rest = function.body.args
            given = ", ".join(map(ast.unparse, rest))
            body = (
                f"loop().{method.value}({given})"
                if isinstance(method, ast.Constant)
                else f"{ast.unparse(method)}({given})"
            )
    else:
        body = f"await {ast.unparse(function)}()"
    assert codes_in("test_loop_refusal.py", body), name
