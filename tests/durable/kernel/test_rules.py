"""The table of forbidden calls: consistent, true of this Python, and printed in docs/determinism.md."""

import importlib
import os
import sys
from functools import reduce
from itertools import groupby
from pathlib import Path

import pytest

from durable.kernel.rules import EVENTS, RULES, Category, Rule, Sight, find_rule

DOCUMENT = Path(__file__).parents[3] / "docs" / "determinism.md"
STANDARD = [rule for rule in RULES if rule.module.partition(".")[0] in sys.stdlib_module_names]
LATER = {"uuid.uuid6", "uuid.uuid7", "random.binomialvariate"}
"""What newer versions of Python have."""


def table():
    """The table of docs/determinism.md."""
    lines = ["| what | calls | who notices | instead |", "|---|---|---|---|"]
    for (category, sight, remedy), rules in groupby(RULES, lambda rule: (rule.category, rule.sight, rule.remedy)):
        calls = ", ".join(f"`{rule.call}`" for rule in rules)
        lines.append(f"| {category} | {calls} | {sight} | {remedy} |")
    return "\n".join(lines)


def test_document_prints_the_table():
    _, _, rest = DOCUMENT.read_text().partition("<!-- the table of durable/kernel/rules.py -->\n")
    printed, end, _ = rest.partition("\n<!-- end of the table -->")
    assert end
    assert printed == table()


def test_rules_are_unique():
    names = [(rule.module, rule.name) for rule in RULES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("rule", [r for r in STANDARD if r.call not in LATER], ids=lambda rule: rule.call)
def test_rule_names_something_that_exists(rule):
    target = reduce(getattr, rule.name.split("."), importlib.import_module(rule.module))
    assert callable(target)


def test_every_category_has_rules_and_every_sight_is_used():
    assert {rule.category for rule in RULES} == set(Category)
    assert {rule.sight for rule in RULES} == set(Sight)


def test_rules_that_are_announced_have_an_event_and_others_need_none():
    assert all(rule.events for rule in RULES if rule.sight is Sight.AUDIT)
    assert not any(rule.events for rule in RULES if rule.sight in (Sight.LOOP, Sight.LINTER))


def test_event_is_spoken_for_by_its_plainest_call():
    assert EVENTS["open"].call == "open"
    assert EVENTS["os.remove"].call == "os.remove"
    assert EVENTS["socket.getaddrinfo"].call == "socket.getaddrinfo"
    assert EVENTS["_thread.start_joinable_thread"].call == "threading.Thread.start"


ANNOUNCED = {
    "os.listdir": lambda: os.listdir("."),
    "os.scandir": lambda: os.scandir(".").close(),
    "open": lambda: Path(os.devnull).read_bytes(),
    "os.remove": lambda: Path("absent").unlink(missing_ok=True),
    "os.mkdir": lambda: Path("/").mkdir(exist_ok=True),
    "os.kill": lambda: os.kill(os.getpid(), 0),
    "socket.gethostname": lambda: importlib.import_module("socket").gethostname(),
    "sqlite3.connect": lambda: importlib.import_module("sqlite3").connect(":memory:").close(),
    "glob.glob": lambda: importlib.import_module("glob").glob("absent"),
}


@pytest.mark.parametrize(("event", "act"), ANNOUNCED.items(), ids=ANNOUNCED)
def test_event_is_raised_by_this_python(event, act, heard):
    act()
    assert event in heard
    assert event in EVENTS


@pytest.fixture
def heard():
    """The audit events of this test."""
    del _heard[:]
    _is_listening[:] = [True]
    yield _heard
    _is_listening[:] = [False]


_heard: list[str] = []
_is_listening = [False]


def _listen(event, arguments):
    if _is_listening and _is_listening[0]:  # there is nothing any more when the interpreter ends
        _heard.append(event)


sys.addaudithook(_listen)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("time.time", "time.time"),
        ("builtins.open", "open"),
        ("datetime.datetime.now", "datetime.datetime.now"),
        ("numpy.random.normal", "numpy.random.*"),
    ],
)
def test_find_rule_knows_qualified_names(name, call):
    rule = find_rule(name)
    assert isinstance(rule, Rule)
    assert rule.call == call


@pytest.mark.parametrize("name", ["json.dumps", "time", "math.sqrt", "open"])
def test_find_rule_knows_nothing_of_harmless_names(name):
    assert find_rule(name) is None


def test_remedies_name_the_context():
    for call, remedy in {
        "time.time": "ctx.now()",
        "random.random": "ctx.random",
        "uuid.uuid4": "ctx.uuid4()",
        "time.sleep": "ctx.sleep(",
        "builtins.open": "ctx.step(",
        "builtins.input": "ctx.ask_user(",
    }.items():
        assert remedy in find_rule(call).remedy
