# ruff: noqa: PLC3002
"""Clocks, randomness, sleeps and threads in workflow code are stopped where they are called (G1, G2)."""

import asyncio
import datetime as dt
import logging
import os
import pathlib
import random
import secrets
import signal
import sys
import threading
import time
import uuid
from datetime import date, datetime
from random import choice
from time import time as now

import pytest
from simulated_run import SimulatedRun

from durable.errors import DeterminismError
from durable.kernel import guard
from durable.kernel.rules import find_rule

rng = random.Random(7)
system_rng = random.SystemRandom()


def violation_of(function, *arguments, profile=True):
    """Run a workflow function in a kernel loop and return what the guard left there."""
    guard.watch(function)
    guard.install()
    simulated = SimulatedRun()
    task = simulated.spawn(function(*arguments))
    guard.profile_everything(profile)
    try:
        simulated.drain()
    except DeterminismError as error:
        assert error is simulated.loop.violation
    finally:
        guard.profile_everything(False)
        simulated.loop.evict()
    if simulated.loop.violation is None:
        task.result()
    return simulated.loop.violation


async def reads_module_attribute():
    return time.time()


async def reads_alias():
    return now()


async def calls_lambda():
    return (lambda: time.monotonic())()


async def calls_in_comprehension():
    return [time.perf_counter() for _ in range(1)]


async def calls_through_local_name():
    clock = time.time_ns
    return clock()


async def calls_with_unpacking():
    return time.gmtime(*())


async def calls_choice():
    return choice([1, 2])


async def calls_system_random():
    return system_rng.choice([1, 2])


async def starts_thread():
    threading.Thread(target=print).start()


class Clock:
    offset = 1

    def read(self):
        return time.time() + self.offset

    @property
    def today(self):
        return time.time()


def helper():
    return Clock().read()


async def calls_helper_of_the_module():
    return helper()


async def reads_property():
    return Clock().today


CALLS = {
    "module attribute": (reads_module_attribute, "time.time()"),
    "alias": (reads_alias, "time.time()"),
    "lambda": (calls_lambda, "time.monotonic()"),
    "comprehension": (calls_in_comprehension, "time.perf_counter()"),
    "local name": (calls_through_local_name, "time.time_ns()"),
    "unpacking": (calls_with_unpacking, "time.gmtime()"),
    "choice": (calls_choice, "random.choice()"),
    "thread": (starts_thread, "threading.Thread.start()"),
    "helper": (calls_helper_of_the_module, "time.time()"),
    "property": (reads_property, "time.time()"),
}


@pytest.mark.parametrize(("function", "call"), CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("profile", [True, False], ids=["harness", "production"])
def test_guard_stops_a_call_however_it_is_written(function, call, profile):
    assert violation_of(function, profile=profile).data["operation"] == call


EXPRESSIONS = {
    "datetime.datetime.now()": lambda: datetime.now(),
    "datetime.datetime.utcnow()": lambda: datetime.utcnow(),
    "datetime.datetime.today()": lambda: dt.datetime.today(),
    "datetime.date.today()": lambda: date.today(),
    "time.localtime()": lambda: time.localtime(),
    "time.strftime()": lambda: time.strftime("%Y"),
    "time.ctime()": lambda: time.ctime(None),
    "time.sleep()": lambda: time.sleep(9),
    "random.random()": lambda: random.random(),
    "random.randint()": lambda: random.randint(1, 6),
    "random.shuffle()": lambda: random.shuffle([]),
    "random.seed()": lambda: random.seed(1),
    "random.SystemRandom()": lambda: system_rng.randbytes(1),
    "uuid.uuid1()": lambda: uuid.uuid1(),
    "uuid.uuid4()": lambda: uuid.uuid4(),
    "os.urandom()": lambda: os.urandom(8),
    "secrets.token_hex()": lambda: secrets.token_hex(),
    "secrets.randbelow()": lambda: secrets.randbelow(9),
    "os.path.exists()": lambda: os.path.exists("x"),
    "os.stat()": lambda: os.stat("x"),
    "pathlib.Path.exists()": lambda: pathlib.Path("x").exists(),
    "pathlib.Path.cwd()": lambda: pathlib.Path.cwd(),
    "signal.signal()": lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
}


@pytest.mark.parametrize(("call", "expression"), EXPRESSIONS.items(), ids=EXPRESSIONS)
def test_guard_stops(call, expression):
    async def evaluates():
        return expression()

    assert violation_of(evaluates).data["operation"] == call


HARMLESS = {
    "own generator": lambda: (rng.random(), rng.choice([1]), random.Random(3).shuffle([])),
    "conversions": lambda: (time.gmtime(0), time.ctime(0), time.strftime("%Y", time.gmtime(0))),
    "datetime arithmetic": lambda: datetime(2024, 1, 1) + dt.timedelta(days=1),
    "uuid5": lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "a"),
    "compare_digest": lambda: secrets.compare_digest("a", "a"),
    "paths": lambda: (os.path.join("a", "b"), pathlib.Path("a") / "b"),
}


@pytest.mark.parametrize("expression", HARMLESS.values(), ids=HARMLESS)
def test_guard_leaves_alone(expression):
    async def evaluates():
        return expression()

    assert violation_of(evaluates) is None


class Unhashable:
    __hash__ = None

    def __call__(self, *arguments):
        return arguments


def test_guard_leaves_methods_of_unhashable_callables_alone():
    bound = type(helper.__get__(1))(Unhashable(), 1)

    async def calls():
        return bound(2)

    assert violation_of(calls) is None


async def logs():
    logging.getLogger("shop").warning("%s", "logged")


def test_guard_leaves_logging_alone(caplog):
    assert violation_of(logs) is None
    assert caplog.messages == ["logged"]


def test_guard_leaves_asyncio_alone():
    async def waits():
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))

    assert violation_of(waits) is None


def test_guard_reports_code_that_no_workflow_is_known_for():
    simulated = SimulatedRun()
    error = guard.Guard().report(simulated.loop, find_rule("time.time"), sys._getframe(), "")
    assert error.message.startswith("workflow code called time.time() at test_guard.py:")
    assert simulated.loop.violation is error


class Resource:
    def __del__(self):
        time.time()


def test_guard_leaves_finalizers_alone():
    async def drops():
        Resource()

    assert violation_of(drops) is None


def test_guard_names_workflow_call_line_and_remedy():
    violation = violation_of(reads_module_attribute)
    line = reads_module_attribute.__code__.co_firstlineno + 1
    assert str(violation) == (
        f"[DUR1100] workflow 'reads_module_attribute' called time.time() at test_guard.py:{line}: "
        "its result would differ on replay; use ctx.now()"
    )


def test_guard_names_the_workflow_by_its_given_name():
    async def deploys():
        time.time()

    guard.watch(deploys, "shop.deploy")
    guard.install()
    simulated = SimulatedRun()
    simulated.spawn(deploys())
    with pytest.raises(DeterminismError, match=r"workflow 'shop\.deploy' called time\.time\(\)"):
        simulated.drain()


def test_guard_decides_when_the_code_swallows_the_error():
    async def swallows():
        try:
            time.time()
        except BaseException:
            return "went on"

    assert violation_of(swallows).data["operation"] == "time.time()"


def test_guard_keeps_the_first_violation():
    async def swallows_twice():
        for call in (time.time, uuid.uuid4):
            try:
                call()
            except BaseException:
                continue

    assert violation_of(swallows_twice).data["operation"] == "time.time()"


def test_guard_is_silent_outside_kernel_loops():
    guard.watch(reads_module_attribute)
    guard.install()
    assert asyncio.run(reads_module_attribute()) > 0


def test_guard_is_silent_on_other_threads():
    seen = []

    async def waits_for_a_thread():
        thread.join()

    guard.watch(waits_for_a_thread)
    guard.watch(calls_helper_of_the_module)
    guard.install()
    thread = threading.Thread(target=lambda: seen.append(helper()))
    thread.start()
    assert violation_of(waits_for_a_thread) is None
    assert seen


def test_guard_allows_everything_while_the_loop_is_unguarded():
    simulated = SimulatedRun()

    async def reads_unguarded():
        simulated.loop.unguarded += 1
        try:
            return time.time(), os.getcwd(), open(os.devnull).close()
        finally:
            simulated.loop.unguarded -= 1

    guard.watch(reads_unguarded)
    guard.install()
    assert simulated.run(reads_unguarded())


def plain_step():
    return time.time()


async def mentions_step():
    return plain_step


def test_guard_leaves_steps_out():
    guard.watch(mentions_step)
    guard.install()
    guard.exempt(plain_step)

    async def calls_step():
        return plain_step()

    assert violation_of(calls_step) is None


def test_guard_covers_definitions_made_after_it_was_installed():
    guard.install()

    async def late():
        return time.time()

    assert violation_of(late).data["operation"] == "time.time()"


def test_guard_falls_back_on_wrappers_where_no_tool_is_free(monkeypatch):
    if hasattr(sys, "monitoring"):
        monkeypatch.setattr(sys.monitoring, "get_tool", lambda tool: "somebody")
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    fallback = guard.Guard()
    monkeypatch.setattr(sys, "addaudithook", lambda hook: None)
    namespace = {"time": sys.modules["time"]}  # here the name may hold a wrapper already
    exec("async def deploy(): return time.time()", namespace)
    fallback.watch(namespace["deploy"], "deploy")
    fallback.settle()
    simulated = SimulatedRun()
    simulated.spawn(namespace["deploy"]())
    with pytest.raises(DeterminismError, match="workflow 'deploy' called time"):
        simulated.drain()
    fallback.exempt(helper)


def test_guard_leaves_another_profiler_alone():
    def profiler(frame, event, argument):
        pass

    sys.setprofile(profiler)
    try:
        guard.profile_everything(True)
        guard.profile_everything(False)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
