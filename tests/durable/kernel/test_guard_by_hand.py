"""Callbacks of the interpreter, called by hand: tracers, hence coverage, do not follow the interpreter there."""

import os
import sys
import time

import anyio
import pytest
from simulated_run import SimulatedRun

from durable.errors import DeterminismError
from durable.kernel.audit import make_hook
from durable.kernel.callee import ABSENT, Callees

READ, WRITTEN = os.O_RDONLY, os.O_WRONLY | os.O_CREAT


def report(loop, rule, frame, argument):
    return DeterminismError(f"{rule.call}({argument})")


@pytest.fixture
def hook():
    """An audit hook for which this file is a workflow's, and which believes that it is in a kernel loop."""
    with SimulatedRun().loop.activate():
        yield make_hook({__file__}, report)


@pytest.mark.parametrize(
    ("event", "arguments", "call"),
    [
        ("open", ("shop.db", "r", READ), "open('shop.db')"),
        ("open", (b"shop.db", None, READ), "open(b'shop.db')"),
        ("open", (7, "r", READ), "open()"),
        ("open", (__file__, "w", WRITTEN), f"open({__file__!r})"),
        ("open", (__file__, None, WRITTEN), f"open({__file__!r})"),
        ("os.listdir", (None,), "os.listdir()"),
        ("os.system", ("true",), "os.system()"),
        ("builtins.input", (), "input()"),
    ],
)
def test_hook_stops(hook, event, arguments, call):
    with pytest.raises(DeterminismError) as caught:
        hook(event, arguments)
    assert caught.value.message == call


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("import", ("shop",)),
        ("open", (__file__, "r", READ)),
        ("open", (anyio.__file__ + "/data", "rb", READ)),
        ("open", ("/usr/share/zoneinfo/Europe/Paris", "rb", READ)),
    ],
)
def test_hook_lets_pass(hook, event, arguments, monkeypatch):
    monkeypatch.setattr("zoneinfo.TZPATH", ("/usr/share/zoneinfo",))
    hook(event, arguments)


def test_hook_looks_for_no_time_zones_where_nobody_uses_them(hook, monkeypatch):
    monkeypatch.delitem(sys.modules, "zoneinfo", raising=False)
    with pytest.raises(DeterminismError):
        hook("open", ("/usr/share/zoneinfo/Europe/Paris", "rb", READ))


def as_file(filename, source="def act(hook): hook('os.listdir', ('.',))", name="act"):
    namespace = {}
    exec(compile(source, filename, "exec"), namespace)
    return namespace[name]


@pytest.mark.parametrize(
    ("filename", "source"),
    [
        ("/usr/lib/python3/dist-packages/loguru/sink.py", "def act(hook): hook('os.listdir', ('.',))"),
        ("/srv/shop/pricing.py", "def act(hook): hook('os.listdir', ('.',))"),
        (__file__, "def __del__(hook): hook('os.system', ('true',))\nact = __del__"),
    ],
)
def test_hook_lets_pass_what_happens_in(hook, filename, source):
    as_file(filename, source)(hook)


def test_hook_lets_pass_what_the_machine_does_itself(hook):
    simulated = SimulatedRun()
    simulated.loop.call_soon(hook, "os.listdir", (".",))
    simulated.drain()
    assert not simulated.failures


def test_hook_stops_processes_of_other_modules_of_the_author(hook):
    act = as_file("/srv/shop/pricing.py", "def act(hook): hook('os.system', ('true',))")
    with pytest.raises(DeterminismError):
        act(hook)


def test_hook_lets_pass_what_the_code_is_allowed():
    simulated = SimulatedRun()
    simulated.loop.unguarded = 1
    with simulated.loop.activate():
        make_hook({__file__}, report)("open", ("shop.db", "r", READ))


if sys.version_info >= (3, 12):
    from durable.kernel import monitor

    class Unhashable:
        __hash__ = None

        def __call__(self, *arguments):
            pass

    @pytest.fixture
    def on_call(monkeypatch):
        """The callback of a monitor, and what it has asked its judge."""
        callbacks, questions = [], []
        monkeypatch.setattr(sys.monitoring, "register_callback", lambda *arguments: callbacks.append(arguments[2]))
        monitor.Monitor(4, Callees(), lambda called, first, frame: questions.append((called, first)))
        return callbacks[0], questions

    @pytest.mark.parametrize(
        ("called", "first", "questions"),
        [
            (time.time, sys.monitoring.MISSING, [(time.time, ABSENT)]),
            (time.sleep, 1, [(time.sleep, 1)]),
            (len, "text", []),
            (as_file, "text", []),
            (type(SimulatedRun().drain)(Unhashable(), 1), 2, []),
            (Unhashable(), 2, []),
        ],
    )
    def test_monitor_asks_about_forbidden_callables_only(on_call, called, first, questions):
        callback, asked = on_call
        callback(None, 0, called, first)
        assert asked == questions

    def test_monitor_claims_the_first_free_tool(monkeypatch):
        claimed = []
        taken = {4: "somebody"}
        monkeypatch.setattr(sys.monitoring, "get_tool", taken.get)
        monkeypatch.setattr(sys.monitoring, "use_tool_id", lambda tool, name: claimed.append((tool, name)))
        assert monitor.claim_tool() == 3
        assert claimed == [(3, "durable")]
