# ruff: noqa: LOG001
"""Files, sockets, processes and threads are stopped at any depth, unless they are nobody's decision (G3)."""

import concurrent.futures
import importlib
import linecache
import logging
import os
import pathlib
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import urllib.request
import warnings
import weakref
import zoneinfo

import anyio
import pytest
from simulated_run import SimulatedRun

from durable.errors import DeterminismError
from durable.kernel import guard
from durable.kernel.audit import make_hook
from durable.kernel.rules import EVENTS


def violation_of(function):
    """Run a workflow function in a kernel loop and return what the guard left there."""
    guard.watch(function)
    guard.install()
    simulated = SimulatedRun()
    task = simulated.spawn(function())
    try:
        simulated.drain()
    except DeterminismError as error:
        assert error is simulated.loop.violation
    finally:
        simulated.loop.evict()
    if simulated.loop.violation is None:
        task.result()
    return simulated.loop.violation


EFFECTS = {
    "open": (lambda: open("shop.db"), "open('shop.db')"),
    "write of a source file": (lambda: open("shop.py", "w"), "open('shop.py')"),
    "descriptor": (lambda: os.open("shop.db", os.O_RDONLY), "open('shop.db')"),
    "read_text": (lambda: pathlib.Path("shop.db").read_text(), "open('shop.db')"),
    "listdir": (lambda: os.listdir("."), "os.listdir('.')"),
    "rename": (lambda: os.rename("a", "b"), "os.rename('a')"),
    "rmtree": (lambda: shutil.rmtree("nowhere"), "shutil.rmtree('nowhere')"),
    "temporary file": (lambda: tempfile.mkdtemp(), "tempfile.mkdtemp("),
    "sqlite": (lambda: sqlite3.connect(":memory:"), "sqlite3.connect(':memory:')"),
    "socket": (lambda: socket.socket(), "socket.socket()"),
    "name": (lambda: socket.getaddrinfo("localhost", 80), "socket.getaddrinfo()"),
    "request": (lambda: urllib.request.urlopen("http://localhost:1"), "urllib.request.urlopen()"),
    "process": (lambda: subprocess.run(["true"], check=True), "subprocess.Popen()"),
    "system": (lambda: os.system("true"), "os.system()"),
    "input": (lambda: input("sure?"), "input()"),
    "executor": (lambda: concurrent.futures.ThreadPoolExecutor().submit(print), "threading.Thread.start()"),
}


@pytest.mark.parametrize(("effect", "call"), EFFECTS.values(), ids=EFFECTS)
def test_guard_stops_an_effect(effect, call):
    async def acts():
        effect()

    assert violation_of(acts).data["operation"].startswith(call)
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name and thread.is_alive()]


def test_guard_says_where_and_what_to_do():
    async def reads():
        pathlib.Path("shop.db").read_text()

    violation = violation_of(reads)
    line = reads.__code__.co_firstlineno + 1
    assert str(violation) == (
        f"[DUR1100] workflow 'reads' called open('shop.db') at test_guard_effects.py:{line}: "
        "what it finds or changes is not recorded for replay; do it in a step: await ctx.step(...)"
    )


def other_module(source, tmp_path):
    """A user's module that is no workflow module."""
    path = tmp_path / "pricing.py"
    path.write_text(source)
    module = types.ModuleType("pricing")
    exec(compile(source, str(path), "exec"), vars(module))
    return module


def test_guard_leaves_files_of_other_user_modules_alone(tmp_path):
    pricing = other_module("def load(path):\n    return open(path).close()", tmp_path)
    catalogue = tmp_path / "catalogue.json"
    catalogue.touch()

    async def calls_helper():
        pricing.load(catalogue)

    assert violation_of(calls_helper) is None


def test_guard_stops_sockets_of_other_user_modules(tmp_path):
    pricing = other_module("import socket\ndef ask():\n    return socket.socket()", tmp_path)

    async def calls_helper():
        pricing.ask()

    violation = violation_of(calls_helper)
    assert violation.data["operation"] == "socket.socket()"
    assert violation.data["where"] == "pricing.py:3"


def test_guard_stops_a_socket_in_a_task_of_another_module(tmp_path):
    pricing = other_module("import socket\nasync def ask():\n    return socket.socket()", tmp_path)

    async def delegates():
        async with anyio.create_task_group() as group:
            group.start_soon(pricing.ask)

    assert violation_of(delegates).message.startswith("workflow code called socket.socket() at pricing.py:3")


def imports_lazily(tmp_path, monkeypatch):
    (tmp_path / "lazily_imported.py").write_text("open('/dev/null', 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lazily_imported", raising=False)
    return lambda: importlib.import_module("lazily_imported")


def logs_to_a_file(tmp_path, monkeypatch):
    handler = logging.FileHandler(tmp_path / "log", delay=True)
    logger = logging.Logger("shop")
    logger.addHandler(handler)

    def log():
        logger.warning("to a file that is opened now")
        handler.close()

    return log


def logs_by_a_handler_of_the_module(tmp_path, monkeypatch):
    class Handler(logging.Handler):
        def emit(self, record):
            open(os.devnull, "w").close()

    logger = logging.Logger("shop")
    logger.addHandler(Handler())
    return lambda: logger.warning("to a handler that opens a file")


def formats_a_traceback(tmp_path, monkeypatch):
    def act():
        linecache.clearcache()
        try:
            raise ValueError
        except ValueError:
            return traceback.format_exc()

    return act


def warns(tmp_path, monkeypatch):
    def act():
        linecache.clearcache()
        warnings.formatwarning("with its source line", UserWarning, __file__, 1)

    return act


def finalizes(tmp_path, monkeypatch):
    class Resource:
        def __del__(self):
            open(os.devnull, "w").close()

    return lambda: Resource() and None


def finalizes_weakly(tmp_path, monkeypatch):
    class Resource:
        pass

    def act():
        resource = Resource()
        weakref.finalize(resource, lambda: open(os.devnull, "w").close())

    return act


def reads_a_source_file(tmp_path, monkeypatch):
    return lambda: open(__file__).close()


def reads_a_time_zone(tmp_path, monkeypatch):
    return lambda: zoneinfo.ZoneInfo.no_cache("Europe/Paris")


def reads_data_of_a_package(tmp_path, monkeypatch):
    return lambda: open(os.path.join(os.path.dirname(anyio.__file__), "py.typed"), "rb").close()


def reads_data_of_a_package_by_descriptor(tmp_path, monkeypatch):
    path = os.path.join(os.path.dirname(anyio.__file__), "py.typed")
    return lambda: os.close(os.open(path, os.O_RDONLY))


@pytest.mark.parametrize(
    "prepare",
    [
        imports_lazily,
        logs_to_a_file,
        logs_by_a_handler_of_the_module,
        formats_a_traceback,
        warns,
        finalizes,
        finalizes_weakly,
        reads_a_source_file,
        reads_a_time_zone,
        reads_data_of_a_package,
        reads_data_of_a_package_by_descriptor,
    ],
)
def test_guard_leaves_effects_alone_that_are_nobodys_decision(prepare, tmp_path, monkeypatch):
    act = prepare(tmp_path, monkeypatch)

    async def acts():
        act()

    assert violation_of(acts) is None


def test_guard_leaves_effects_of_the_machine_alone():
    simulated = SimulatedRun()
    guard.install()
    with simulated.loop.activate():
        simulated.loop.call_soon(os.listdir, ".")
        simulated.loop.drain()
    assert simulated.loop.violation is None


def test_guard_takes_an_open_descriptor_for_a_file():
    async def reopens():
        open(0, closefd=False)

    assert violation_of(reopens).data["operation"] == "open()"


def test_hook_ignores_events_outside_kernel_loops():
    hook = make_hook(set(), report=None)
    for event in [*EVENTS, "object.__getattr__"]:
        hook(event, ("shop.db", "w", 0))


def test_guard_is_silent_at_interpreter_shutdown():
    program = """
import os, sys
from durable.kernel import guard
guard.install()
class Late:
    def __del__(self, open=open):
        open(os.devnull).close()
sys.late = Late()
late = Late()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
