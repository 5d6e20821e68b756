"""What reaches outside is refused by name, with the remedy, by asyncio's own ways and by anyio's (L1)."""

import asyncio
import inspect
import threading

import anyio
import anyio.to_process
import anyio.to_thread
import pytest
from simulated_run import SimulatedRun

from durable.errors import AuthorError, DeterminismError
from durable.kernel.loop import KernelLoop


def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def call(method, *arguments):
    getattr(loop(), method)(*arguments)


async def receive_signals():
    with anyio.open_signal_receiver(2) as signals:
        async for _ in signals:
            pass


async def use_runner():
    with asyncio.Runner() as runner:
        runner.run(asyncio.sleep(0))


async def nest(run, *arguments):
    run(*arguments)


async def reuse_runner(runner):
    runner.run(asyncio.sleep(0))


def begun_runner() -> asyncio.Runner:
    """One that has its loop already, made where that is allowed."""
    runner = asyncio.Runner()
    runner.get_loop()
    return runner


REFUSED = {
    "coroutine run": (lambda: call("run_until_complete", asyncio.sleep(0)), "run_until_complete"),
    "to_thread": (lambda: asyncio.to_thread(print), "run_in_executor"),
    "run_in_executor": (lambda: call("run_in_executor", None, print), "run_in_executor"),
    "open_connection": (lambda: asyncio.open_connection("localhost", 1), "create_connection"),
    "open_unix_connection": (lambda: asyncio.open_unix_connection("/tmp/x"), "create_unix_connection"),
    "start_server": (lambda: asyncio.start_server(print, "localhost", 0), "create_server"),
    "subprocess_exec": (lambda: asyncio.create_subprocess_exec("true"), "subprocess_exec"),
    "subprocess_shell": (lambda: asyncio.create_subprocess_shell("true"), "subprocess_shell"),
    "getaddrinfo": (lambda: call("getaddrinfo", "localhost", 1), "getaddrinfo"),
    "sock_recv": (lambda: call("sock_recv", None, 1), "sock_recv"),
    "add_reader": (lambda: call("add_reader", 0, print), "add_reader"),
    "add_signal_handler": (lambda: call("add_signal_handler", 2, print), "add_signal_handler"),
    "call_soon_threadsafe": (lambda: call("call_soon_threadsafe", print), "call_soon_threadsafe"),
    "run_until_complete": (lambda: call("run_until_complete", asyncio.Event().wait), "run_until_complete"),
    "run_forever": (lambda: call("run_forever"), "run_forever"),
    "stop": (lambda: call("stop"), "stop"),
    "close": (lambda: call("close"), "close"),
    "set_task_factory": (lambda: call("set_task_factory", None), "set_task_factory"),
    "set_debug": (lambda: call("set_debug", True), "set_debug"),
    "anyio to_thread": (lambda: anyio.to_thread.run_sync(print), "anyio.to_thread.run_sync"),
    "anyio to_process": (lambda: anyio.to_process.run_sync(print), "subprocess_exec"),
    "anyio run_process": (lambda: anyio.run_process(["true"]), "subprocess_exec"),
    "anyio open_process": (lambda: anyio.open_process("true"), "subprocess_shell"),
    "anyio connect_tcp": (lambda: anyio.connect_tcp("localhost", 1), "getaddrinfo"),
    "anyio connect_tcp to an address": (lambda: anyio.connect_tcp("127.0.0.1", 1), "create_connection"),
    "anyio listener": (lambda: anyio.create_tcp_listener(local_host="localhost"), "getaddrinfo"),
    "anyio open_file": (lambda: anyio.open_file("/tmp/x"), "anyio.to_thread.run_sync"),
    "anyio Path": (lambda: anyio.Path("/tmp/x").read_text(), "anyio.to_thread.run_sync"),
    "anyio wait_readable": (lambda: anyio.wait_readable(0), "add_reader"),
    "anyio signals": (receive_signals, "add_signal_handler"),
}


NESTED = {
    "asyncio.run": (lambda: nest(asyncio.run, asyncio.sleep(0)), "asyncio.run()"),
    "Runner": (use_runner, "asyncio.new_event_loop()"),
    "new_event_loop": (lambda: nest(asyncio.new_event_loop), "asyncio.new_event_loop()"),
    "anyio.run": (lambda: nest(anyio.run, anyio.sleep, 0), "anyio.run()"),
}


@pytest.mark.parametrize(("begin", "operation"), (REFUSED | NESTED).values(), ids=REFUSED | NESTED)
def test_reaching_outside_is_refused_by_name_with_a_remedy(begin, operation):
    simulated = SimulatedRun()

    async def body():
        await begin()

    simulated.spawn(body())
    with pytest.raises(DeterminismError) as caught:
        simulated.drain()
    error = caught.value
    assert operation in error.data["operation"]
    assert error.data["operation"] in str(error)
    assert error.data["remedy"] in str(error)
    assert simulated.loop.violation is error
    assert simulated.loop.evict() == 0


@pytest.mark.parametrize(("begin", "operation"), [REFUSED["to_thread"], REFUSED["anyio to_thread"]])
def test_refusal_decides_although_the_code_swallows_it(begin, operation):
    simulated = SimulatedRun()

    async def body():
        try:
            await begin()
        except BaseException:
            return "swallowed"

    task = simulated.spawn(body())
    with pytest.raises(DeterminismError, match=operation):
        simulated.drain()
    assert not task.done() or task.result() == "swallowed"


def test_first_violation_is_the_one_that_is_kept():
    simulated = SimulatedRun()

    async def body():
        for method in ("stop", "close"):
            with pytest.raises(DeterminismError):
                getattr(loop(), method)()

    simulated.spawn(body())
    with pytest.raises(DeterminismError, match=r"loop\.stop"):
        simulated.drain()


def test_no_method_of_an_event_loop_is_left_unimplemented():
    stock = dict(inspect.getmembers(asyncio.AbstractEventLoop, inspect.isfunction))
    left = [name for name in stock if not name.startswith("_") and getattr(KernelLoop, name) is stock[name]]
    assert left == []


def test_foreign_thread_is_refused_with_an_ordinary_error():
    simulated = SimulatedRun()
    errors = []

    async def intruder():
        pass

    def intrude():
        coroutine = intruder()
        for wake in (
            lambda: simulated.loop.call_soon_threadsafe(print),
            lambda: asyncio.run_coroutine_threadsafe(coroutine, simulated.loop),
        ):
            try:
                wake()
            except AuthorError as error:
                errors.append(str(error))
        coroutine.close()

    thread = threading.Thread(target=intrude)
    thread.start()
    thread.join()
    assert len(errors) == 2
    assert all("loop.call_soon_threadsafe() was called from outside the workflow" in error for error in errors)
    assert all("remedy: send the run a message" in error for error in errors)
    assert simulated.loop.violation is None


def test_thread_of_the_worker_may_still_use_anyio_threads():
    async def outer():
        return await anyio.to_thread.run_sync(lambda: "threaded")

    SimulatedRun()
    assert anyio.run(outer) == "threaded"


def test_runner_from_elsewhere_is_refused_as_well():
    simulated = SimulatedRun()
    with begun_runner() as runner:
        simulated.spawn(reuse_runner(runner))
        with pytest.raises(DeterminismError, match=r"called asyncio\.Runner\.run\(\) at test_loop_refusal\.py:"):
            simulated.drain()


def test_nested_loops_are_left_alone_outside_of_workflows():
    SimulatedRun()  # which makes the changes

    async def answer() -> int:
        return 42

    assert asyncio.run(answer(), debug=False) == anyio.run(answer, backend="asyncio") == 42
    with begun_runner() as runner:
        assert runner.run(answer()) == 42


WRITTEN = {
    "asyncio.to_thread()": lambda: asyncio.to_thread(print),
    "anyio.Path.read_text()": lambda: anyio.Path("/tmp/x").read_text(),
    "anyio.run_process()": lambda: anyio.run_process(["true"]),
    "asyncio.open_connection()": lambda: asyncio.open_connection("localhost", 1),
    "loop.add_reader()": lambda: call("add_reader", 0, print),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_refusal_names_workflow_line_and_what_was_written(written):
    simulated = SimulatedRun()
    simulated.loop.workflow = "deploy"

    async def body():
        await WRITTEN[written]()

    simulated.spawn(body())
    with pytest.raises(DeterminismError) as caught:
        simulated.drain()
    assert str(caught.value).startswith(f"[DUR1100] workflow 'deploy' called {written} at test_loop_refusal.py:")
    assert caught.value.data["call"] == written


def test_refusal_of_a_task_that_is_all_library_names_what_it_is():
    simulated = SimulatedRun()
    simulated.spawn(asyncio.to_thread(print))
    with pytest.raises(
        DeterminismError, match=r"^\[DUR1100\] workflow code called asyncio\.to_thread\(\): it needs a thread"
    ):
        simulated.drain()
