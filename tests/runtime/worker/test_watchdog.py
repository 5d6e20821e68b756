"""Workflow code that keeps the event loop busy is found, named and interrupted, and nothing else is (L10)."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from durable.errors import BlockedLoopError
from durable.kernel.loop import KernelLoop
from runtime.worker.delay import DelayClock
from runtime.worker.watchdog import BlockedLoopInterrupt, Watchdog

LIMIT = 0.02


@pytest.fixture
def reports():
    return []


@pytest.fixture
def watchdog(reports):
    dog = Watchdog(LIMIT, lambda *report: reports.append(report))
    dog._interval = 0.05  # not an eighth of the limit: on a busy machine a thread may have to wait so long
    dog.start()
    yield dog
    dog.stop()


def lines_of(function, *texts):
    """``file:line in function`` of the lines of a function of this module that begin with the texts."""
    code = function.__code__
    lines = Path(__file__).read_text().splitlines()
    return [
        f"test_watchdog.py:{number} in {code.co_qualname}"
        for number in {number for _, _, number in code.co_lines() if number}
        if lines[number - 1].strip().startswith(texts)
    ]


def checkpoints():
    """Code in which a pending exception would be raised."""
    for _ in range(50):
        abs(1)


def in_a_library(source, name):
    """The function ``name`` of an installed package."""
    namespace = {}
    exec(compile(source, "/opt/site-packages/library.py", "exec"), namespace)
    return namespace[name]


def spin():
    while True:
        pass


# -- what is found


def test_watchdog_interrupts_an_endless_loop_and_names_its_line(watchdog, reports):
    with pytest.raises(BlockedLoopError) as caught:
        watchdog.run("deploy-v1", spin)
    watchdog.stop()
    where = caught.value.data["where"]
    assert where in lines_of(spin, "while", "pass")
    assert reports == [("deploy-v1", where, True)]
    assert str(caught.value) == (
        f"[DUR1103] workflow 'deploy-v1' kept the event loop busy for more than 0.02 s at {where}; "
        "move the work into a step: await ctx.step(...)"
    )
    assert isinstance(caught.value.__context__, BlockedLoopInterrupt)


def test_watchdog_names_the_authors_line_when_a_library_loops(watchdog):
    converge = in_a_library("def converge():\n while True: pass", "converge")

    def solves():
        return converge()

    with pytest.raises(BlockedLoopError) as caught:
        watchdog.run("deploy", solves)
    assert [caught.value.data["where"]] == lines_of(solves, "return")


def test_watchdog_names_the_machine_when_no_code_of_the_author_is_there(watchdog):
    drain = in_a_library("def drain():\n while True: pass", "drain")
    with pytest.raises(BlockedLoopError) as caught:
        watchdog.run("deploy", drain)
    assert caught.value.data["where"].endswith(":2 in drain")


def test_watchdog_reports_a_call_into_c_while_it_lasts_and_sends_it_nothing(reports):
    gate = threading.Lock()
    gate.acquire()
    sent = []

    def waits():
        gate.acquire()

    watchdog = Watchdog(0.2, lambda *report: (reports.append(report), gate.release()))
    watchdog.start()
    watchdog._interrupter.send = lambda: sent.append(True)
    with pytest.raises(BlockedLoopError):
        watchdog.run("deploy", waits)
    watchdog.stop()
    assert reports == [("deploy", *lines_of(waits, "gate"), False)]
    assert not sent


def test_watchdog_reports_an_interrupt_that_does_not_arrive(watchdog, reports):
    def computes():
        while not reports:
            pass

    watchdog._interrupter.send = lambda: None
    with pytest.raises(BlockedLoopError):
        watchdog.run("deploy", computes)
    watchdog.stop()
    assert [report[2] for report in reports] == [False]


def test_watchdog_interrupts_a_loop_of_short_calls_into_c(watchdog, reports):
    gate = threading.Lock()
    gate.acquire()

    def polls():
        while not gate.acquire(timeout=0.001):
            pass

    with pytest.raises(BlockedLoopError):
        watchdog.run("deploy", polls)
    watchdog.stop()
    assert [report[2] for report in reports] == [True]


def test_watchdog_names_the_line_of_a_call_that_held_the_interpreter():
    def sums():
        total = 1
        total += sum(range(30_000_000))
        return total

    watchdog = Watchdog(0.1)
    watchdog.start()
    with pytest.raises(BlockedLoopError) as caught:
        watchdog.run("deploy", sums)
    watchdog.stop()
    assert [caught.value.data["where"]] == lines_of(sums, "total += sum")


def test_watchdog_interrupts_again_when_the_interrupt_is_swallowed(watchdog, reports):
    swallowed = []

    def stubborn():
        while len(swallowed) < 3:
            try:
                spin()
            except BaseException as error:
                swallowed.append(error)
        return "went on"

    with pytest.raises(BlockedLoopError):
        watchdog.run("deploy", stubborn)
    watchdog.stop()
    assert len(swallowed) == 3
    assert [report[2] for report in reports] == [True]


def test_watchdog_gives_up_on_code_that_swallows_every_interrupt(watchdog, reports):
    swallowed = []

    def until_reported():
        while not reports:
            pass

    def stubborn():
        while not reports:
            try:
                until_reported()
            except BaseException as error:
                swallowed.append(error)

    with pytest.raises(BlockedLoopError):
        watchdog.run("deploy", stubborn)
    watchdog.stop()
    assert len(swallowed) == 10
    assert [report[2] for report in reports] == [False]


def test_watchdog_finds_a_drain_that_raises_late(watchdog):
    def fails():
        try:
            spin()
        except BaseException:
            raise ValueError from None

    with pytest.raises(BlockedLoopError) as caught:
        watchdog.run("deploy", fails)
    assert isinstance(caught.value.__context__, ValueError)


class Host:
    def start_timer(self, delay_us):
        raise NotImplementedError

    cancel_timer = callback_failed = start_timer


async def spins_in_a_task():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
        spin()


async def yields_for_ever():
    while True:
        await asyncio.sleep(0)


@pytest.mark.parametrize("workflow", [spins_in_a_task, yields_for_ever])
def test_watchdog_interrupts_a_kernel_loop_and_leaves_the_thread_in_order(watchdog, workflow):
    loop = KernelLoop(Host(), 0)
    hooks = sys.get_asyncgen_hooks()

    drain = in_a_library(
        "def drain(loop, workflow):\n with loop.activate():\n  loop.spawn(workflow())\n  loop.drain()",
        "drain",
    )
    with pytest.raises(BlockedLoopError) as caught:
        watchdog.run("deploy", drain, loop, workflow)
    assert caught.value.data["where"].endswith((" in spin", f" in {workflow.__name__}"))
    assert asyncio._get_running_loop() is None
    assert sys.get_asyncgen_hooks() == hooks
    loop.evict()


# -- what is not


def test_watchdog_leaves_short_drains_alone(watchdog, reports):
    assert [watchdog.run("deploy", pow, 2, n) for n in range(1000)] == [2**n for n in range(1000)]
    with pytest.raises(ZeroDivisionError):
        watchdog.run("deploy", divmod, 1, 0)
    assert not reports


def test_watchdog_forgives_the_time_in_which_another_thread_held_the_interpreter(reports):
    go, results = threading.Event(), []

    def hog():
        go.wait()
        results.append(sum(range(30_000_000)))

    def waits_in_python():
        go.set()
        while not results:
            pass
        return "done"

    watchdog = Watchdog(0.15, lambda *report: reports.append(report))
    thread = threading.Thread(target=hog)
    thread.start()
    watchdog.start()
    assert watchdog.run("deploy", waits_in_python) == "done"
    watchdog.stop()
    thread.join()
    assert not reports


def test_watchdog_forgives_the_time_in_which_the_thread_got_no_processor(monkeypatch, reports):
    monkeypatch.setattr("runtime.worker.watchdog.DelayClock", lambda thread: time.monotonic)
    dog = Watchdog(LIMIT, lambda *report: reports.append(report))
    dog.start()
    dog.run("innocent", time.sleep, LIMIT * 10)
    dog.stop()
    assert reports == []


def test_delay_of_a_thread_grows_while_others_have_its_processor():
    clock = DelayClock(threading.get_native_id())
    if not Path("/proc/self/schedstat").exists():
        assert clock() == 0.0
        return
    allowed = os.sched_getaffinity(0)
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as rival:
        try:
            rival.stdout.readline()
            os.sched_setaffinity(0, {min(allowed)})
            os.sched_setaffinity(rival.pid, {min(allowed)})
            before = clock()
            while clock() == before:
                pass
        finally:
            rival.kill()
            os.sched_setaffinity(0, allowed)


def test_interrupt_that_is_sent_too_late_is_taken_back(watchdog):
    send = watchdog._interrupter.send
    sending = []

    def send_after_the_drain():
        sending.append(True)
        while watchdog._mark is not None:
            pass
        send()

    def ends_when_it_is_about_to_be_interrupted():
        while not sending:
            pass

    watchdog._interrupter.send = send_after_the_drain
    with pytest.raises(BlockedLoopError):
        watchdog.run("deploy", ends_when_it_is_about_to_be_interrupted)
    checkpoints()
    assert sending == [True]


def test_interrupt_is_not_sent_after_the_drain(watchdog):
    find_code = watchdog._find_code
    found, pursued, over = [], [], []

    def find_code_after_the_drain():
        code = find_code()
        if found:
            pursued.append(True)
            while not over:
                pass
        found.append(True)
        return code

    def ends_when_it_is_pursued():
        while not pursued:
            pass

    watchdog._find_code = find_code_after_the_drain
    with pytest.raises(BlockedLoopError):
        watchdog.run("deploy", ends_when_it_is_pursued)
    over.append(True)
    while watchdog._case is not None:
        checkpoints()


def test_announcement_that_comes_too_late_blames_nobody(watchdog, reports):
    find_code = watchdog._find_code
    looking, looked = [], []

    def find_code_after_the_drain():
        if not looking:
            mark = watchdog._mark
            looking.append(True)
            while watchdog._mark is mark or watchdog._mark is None:
                pass
            looked.append(True)
        return find_code()

    def until(flag):
        while not flag:
            pass
        return "done"

    watchdog._find_code = find_code_after_the_drain
    assert watchdog.run("first", until, looking) == "done"
    assert watchdog.run("second", until, looked) == "done"
    watchdog.stop()
    assert not reports


def test_interrupt_never_hits_code_after_the_drain():
    """Drains that end at every distance from the moment at which they are found."""
    watchdog = Watchdog(0.0002, lambda *report: None)
    watchdog.start()

    def ends_soon_after_it_is_found(rounds):
        while watchdog._announced is None:
            pass
        for _ in range(rounds):
            pass

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    blamed = []
    try:
        for number in range(400):
            try:
                watchdog.run(str(number), ends_soon_after_it_is_found, number % 40)
            except BlockedLoopError as error:
                blamed.append(error.data["label"])
            checkpoints()
    finally:
        sys.setswitchinterval(interval)
        watchdog.stop()
    assert blamed == [str(number) for number in range(400)]


# -- its life


def test_watchdog_goes_on_when_the_callback_fails(caplog):
    watchdog = Watchdog(LIMIT, lambda *report: 1 / 0)
    watchdog.start()
    for _ in range(2):
        with pytest.raises(BlockedLoopError):
            watchdog.run("deploy", spin)
    watchdog.stop()
    assert [record.message for record in caplog.records] == ["the callback of the watchdog failed"] * 2


@pytest.mark.parametrize("interrupted", [True, False])
def test_watchdog_tells_the_log_by_default(caplog, interrupted):
    Watchdog(LIMIT)._on_blocked("deploy", "shop.py:1 in deploy", interrupted)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "'deploy'" in record.message
    assert "shop.py:1 in deploy" in record.message


def test_watchdog_may_be_started_and_stopped_again():
    watchdog = Watchdog(LIMIT)
    watchdog.stop()
    for _ in range(2):
        watchdog.start()
        thread = watchdog._thread
        watchdog.start()
        assert watchdog._thread is thread
        with pytest.raises(BlockedLoopError):
            watchdog.run("deploy", spin)
        watchdog.stop()
        watchdog.stop()
        assert not thread.is_alive()


def test_watchdog_runs_drains_without_being_started():
    assert Watchdog().run("deploy", divmod, 7, 2) == (3, 1)


def test_watchdog_stops_in_the_middle_of_a_case(reports):
    gate = threading.Lock()
    gate.acquire()

    def waits():
        stopper.start()
        gate.acquire()

    def stop():
        while watchdog._announced is None:
            pass
        watchdog.stop()
        gate.release()

    watchdog = Watchdog(0.2, lambda *report: reports.append(report))
    watchdog.start()
    stopper = threading.Thread(target=stop)
    with pytest.raises(BlockedLoopError):
        watchdog.run("deploy", waits)
    stopper.join()
    assert len(reports) == 1


def test_watchdog_ends_with_the_thread_that_it_watches():
    watchdog = Watchdog(LIMIT)
    worker = threading.Thread(target=watchdog.start)
    worker.start()
    worker.join()
    watchdog._thread.join()
    assert not watchdog._thread.is_alive()


def test_watchdog_measures_the_process_where_threads_have_no_clock(monkeypatch):
    monkeypatch.delattr(time, "pthread_getcpuclockid", raising=False)
    watchdog = Watchdog(LIMIT)
    watchdog.start()
    with pytest.raises(BlockedLoopError):
        watchdog.run("deploy", spin)
    watchdog.stop()
