"""Every rule of the guard's table is the linter's, through every way of importing what it forbids."""

import pytest

from durable.kernel.rules import RULES, Rule
from durable.lint import CODES, check_sources
from durable.lint.code import BY_CATEGORY, PRELUDE

INSTANCES = {
    "threading.Thread.start": "Thread()",
    "multiprocessing.Process.start": "Process()",
    "concurrent.futures.ThreadPoolExecutor.submit": "ThreadPoolExecutor()",
    "concurrent.futures.ProcessPoolExecutor.submit": "ProcessPoolExecutor()",
    "socket.socket.connect": "socket()",
    "http.client.HTTPConnection.connect": "HTTPConnection('localhost')",
}
"""Rules about methods, which are called on an object."""


def code_of(rule: Rule) -> str:
    identity = rule.module == "builtins" and rule.name in ("id", "hash")
    return "DURL302" if identity else BY_CATEGORY[rule.category]


def ways(rule: Rule) -> dict[str, tuple[str, str]]:
    """Imports and a call, by the name of the way."""
    module, name = rule.module, rule.name.replace("*", "anything")
    top, _, rest = name.partition(".")
    tail = f".{rest}" if rest else ""
    package, _, last = module.rpartition(".")
    found = {
        "module": (f"import {module}", f"{module}.{name}()"),
        "alias of the module": (f"import {module} as m", f"m.{name}()"),
        "name": (f"from {module} import {top}", f"{name}()"),
        "alias of the name": (f"from {module} import {top} as n", f"n{tail}()"),
        "inside the function": ("", f"import {module} as m; m.{name}()"),
        "variable": (f"import {module}", f"call = {module}.{name}; call()"),
        "callback": (f"import {module}, functools", f"functools.partial({module}.{name})"),
        "passed on by another module": (f"from passing import {top}", f"{name}()"),
    }
    if package:
        found["module from its package"] = (f"from {package} import {last}", f"{last}.{name}()")
    if module == "builtins":
        found["built-in"] = ("", f"{name}()")
    elif rule.name != "*" and not rest:
        found["everything"] = (f"from {module} import *", f"{name}()")
    if rest and f"{module}.{name}" in INSTANCES:
        made = INSTANCES[f"{module}.{name}"]
        found["method of an object"] = (f"from {module} import {top}", f"thing = {made}; thing.{rest}()")
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.module}.{rule.name}")
def test_rule_is_found_however_it_is_imported(rule):
    passing = f"from {rule.module} import {rule.name.partition('.')[0].replace('*', 'anything')}\n"
    for way, (imports, call) in ways(rule).items():
        source = f"{PRELUDE}{imports}\n\n@workflow\nasync def deploy(ctx: Context) -> None:\n    {call}\n"
        found = {finding.code for finding in check_sources({"app.py": source, "passing.py": passing}).findings}
        assert code_of(rule) in found, (way, source)


def test_every_category_has_a_code():
    assert set(BY_CATEGORY) == {rule.category for rule in RULES}
    assert set(BY_CATEGORY.values()) <= set(CODES)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.harmless_from], ids=lambda rule: rule.call)
def test_rule_spares_what_it_calls_harmless(rule):
    arguments = ", ".join("7" for _ in range(rule.harmless_from))
    source = f"{PRELUDE}import {rule.module}\n\n@workflow\nasync def deploy(ctx: Context) -> None:\n    {rule.call}({arguments})\n"
    assert check_sources({"app.py": source}).ok
