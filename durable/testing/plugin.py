"""The pytest plugin: ``durable_env``, strict replay of every run of a test, timelines of failed tests, golden histories.

It is found by its entry point. Imports are late, so that a coverage measurement that begins after the plugins misses nothing.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from durable.testing.environment import WorkflowEnvironment

FIXTURES: Final = frozenset({"durable_env", "durable_runtime"})

_created: Final = pytest.StashKey[list["WorkflowEnvironment"]]()
_unchecked: Final = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--durable-update-goldens``."""
    group = parser.getgroup("durable")
    group.addoption(
        "--durable-update-goldens", action="store_true", help="write golden histories instead of comparing with them"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell ``assert_history`` and the workers of a distributed run."""
    config.stash[_unchecked] = {}
    config.addinivalue_line(
        "markers",
        "durable_explore(**options): the test prepares durable_env and returns a bound workflow, which is explored; "
        "options are those of durable.testing.explore",
    )
    if config.getoption("durable_update_goldens"):
        from durable.testing.golden import UPDATE_VARIABLE

        os.environ[UPDATE_VARIABLE] = "1"


@pytest.fixture
def durable_env() -> WorkflowEnvironment:
    """A ``WorkflowEnvironment`` of the test's own; its runs are replayed strictly when the test has passed."""
    from durable.testing.environment import WorkflowEnvironment

    return WorkflowEnvironment()


# -- async tests need no mark -----------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: Any) -> None:
    """Async tests that use our fixtures run by anyio's plugin, unless another one is to run them."""
    if not inspect.iscoroutinefunction(obj) or not collector.funcnamefilter(name):  # type: ignore[attr-defined]
        return
    marks = {mark.name for mark in getattr(obj, "pytestmark", ())} | {mark.name for mark in collector.iter_markers()}
    if "asyncio" in marks or _is_asyncio_automatic(collector.config):
        return
    if FIXTURES & _fixtures_of(collector, obj):
        pytest.mark.anyio(obj)
        pytest.mark.usefixtures("anyio_backend")(obj)  # anyio's own hook may have looked before


def _is_asyncio_automatic(config: pytest.Config) -> bool:
    """Whether pytest-asyncio takes every async test."""
    if not config.pluginmanager.has_plugin("asyncio"):
        return False
    return "auto" in (config.getoption("asyncio_mode", None), config.getini("asyncio_mode"))


def _fixtures_of(collector: pytest.Collector, obj: Any) -> set[str]:
    """The names of the fixtures that a test uses, directly or through others."""
    cls = collector.obj if isinstance(collector, pytest.Class) else None
    info = collector.session._fixturemanager.getfixtureinfo(collector, obj, cls)  # type: ignore[arg-type]
    return set(info.names_closure)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """They run on asyncio, where nobody has chosen a backend."""
    if not FIXTURES & set(metafunc.fixturenames) or "anyio_backend" not in metafunc.fixturenames:
        return
    definitions = metafunc._arg2fixturedefs.get("anyio_backend", ())
    if definitions and definitions[-1].func.__module__ == "anyio.pytest_plugin":
        metafunc.parametrize("anyio_backend", ["asyncio"], scope="module")


# -- every run is replayed --------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Replay the runs of a test that has passed."""
    __tracebackhide__ = True
    mark = pyfuncitem.get_closest_marker("durable_explore")
    if mark is not None:
        pyfuncitem.obj = _explored(pyfuncitem.obj, dict(mark.kwargs))
    with _watched(pyfuncitem) as created:
        result = yield
    for env in created:
        env.close()
        pyfuncitem.config.stash[_unchecked].update(env.unchecked)
    return result


def _explored(test: Any, options: dict[str, Any]) -> Any:
    """A test that explores the workflow that the marked one returns."""
    if "durable_env" not in inspect.signature(test).parameters or not inspect.iscoroutinefunction(test):
        pytest.fail(
            "@pytest.mark.durable_explore is for a test that prepares an environment and returns the workflow; write:\n"
            f"    async def {test.__name__}(durable_env):\n        return workflow.bind(...)",
            pytrace=False,
        )

    @functools.wraps(test)
    async def explored(**arguments: Any) -> None:
        __tracebackhide__ = True
        from durable.testing.explorer import explore

        report = await explore(await test(**arguments), env=arguments["durable_env"], **options)
        print(report)  # noqa: T201 - pytest shows it where the test fails, or with -rP
        report.raise_for_findings()

    return explored


class _watched:  # noqa: N801 - used like a function
    """Collects the environments that a test makes, whether by the fixture or by itself."""

    def __init__(self, item: pytest.Function) -> None:
        self._created = item.stash[_created] = [
            value for value in getattr(item, "funcargs", {}).values() if _is_environment(value)
        ]

    def __enter__(self) -> list[WorkflowEnvironment]:
        from durable.testing import environment

        environment.observers.append(self._created.append)
        return self._created

    def __exit__(self, *error: object) -> None:
        from durable.testing import environment

        environment.observers.remove(self._created.append)


def _is_environment(value: object) -> bool:
    from durable.testing.environment import WorkflowEnvironment

    return isinstance(value, WorkflowEnvironment)


# -- what failed, and what was not checked ----------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the timelines of a failed test's runs."""
    report = yield
    if call.when == "call" and report.failed:
        for title, text in _timelines(item.stash.get(_created, [])):
            report.sections.append((title, text))
    return report


def _timelines(created: list[WorkflowEnvironment]) -> Iterator[tuple[str, str]]:
    for env in created:
        for run in env.runs:
            yield f"timeline of {run.workflow_id}", run.timeline()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of a distributed run tells its controller."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["durable_unchecked"] = session.config.stash[_unchecked]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001 - the name of pytest-xdist
    """The controller hears of what its workers have not checked."""
    output = getattr(node, "workeroutput", None) or {}
    node.config.stash[_unchecked].update(output.get("durable_unchecked", {}))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the workflows that were not replayed under another hash seed."""
    unchecked = config.stash[_unchecked]
    if unchecked:
        terminalreporter.section("durable: not replayed in a process with another hash seed", sep="-")
        for workflow, reason in sorted(unchecked.items()):
            terminalreporter.line(f"{workflow}: {reason}")
