"""``durable worker``: serve workflows and steps until somebody asks for an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.exitcode import ExitCode
from runtime.cli.options import Codecs, Grace, Json, LogFormat, LogLevel, MaxConcurrentSteps, Queue, Store

if TYPE_CHECKING:
    from runtime.cli.session import Session
    from runtime.cli.target import Code


def worker(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            envvar="DURABLE_TARGETS",
            help="What to serve: file.py, file.py:workflow, module or module:workflow. "
            "Default: targets of [tool.durable].",
            show_default=False,
        ),
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start again whenever a source file changes.")] = False,
    queue: Queue = None,
    max_concurrent_steps: MaxConcurrentSteps = 1000,
    grace: Grace = "10s",
    log_level: LogLevel = "info",
    log_format: LogFormat = "auto",
    store: Store = None,
    codecs: Codecs = None,
    as_json: Json = False,
) -> int:
    """Serve workflows and steps, until Ctrl-C or SIGTERM.

    The first signal lets steps finish for the grace period and gives runs back; a second one ends the process at once.
    Nothing that was acknowledged is lost either way.
    """
    import asyncio

    from durable.errors import ConfigurationError
    from runtime.cli.logging import begin_logging
    from runtime.cli.moment import parse_duration
    from runtime.cli.session import Session
    from runtime.cli.target import load_all
    from runtime.worker.interpreter import tune_interpreter
    from runtime.worker.worker import Worker  # noqa: F401 - before any code of the user's can take a name of ours

    begin_logging(log_level, "json" if as_json else log_format)
    grace_seconds = parse_duration(grace, "--grace").total_seconds()
    if not targets:
        raise ConfigurationError("durable worker needs a target, such as app.py, or targets in [tool.durable]")
    if reload:
        from runtime.cli.reload import is_supervisor

        code = is_supervisor(targets)
        if code is not None:
            return code
    session = Session(store, codecs)
    code_of_targets = load_all(list(targets))
    tune_interpreter()
    return asyncio.run(
        serve(session, code_of_targets, tuple(queue or ("default",)), max_concurrent_steps, grace_seconds)
    )


async def serve(
    session: Session, code: Code, queues: tuple[str, ...], max_concurrent_steps: int, grace_seconds: float
) -> int:
    """Serve until a signal comes; returns the exit code."""
    import logging

    from runtime.cli.interrupt import Interrupts
    from runtime.cli.output import count
    from runtime.worker.worker import Worker

    log = logging.getLogger("durable.worker")
    codecs = session.load_codecs()
    store = session.open_store()
    served = Worker(
        store,
        workflows=code.workflows,
        steps=code.steps,
        queues=queues,
        codecs=codecs,
        max_concurrent_steps=max_concurrent_steps,
        grace_seconds=grace_seconds,
    )
    with Interrupts() as interrupts:
        try:
            async with served:
                workflows = ", ".join(served.registry.workflows) or "no workflows"
                log.info(
                    "worker %s serves %s and %s, queues %s, from %s",
                    served.worker_id, workflows, count(len(served.registry.steps), "step"), ", ".join(queues), store.url,
                )  # fmt: skip
                await interrupts.asked.wait()
                running = served.engine.runner.running if served.engine is not None else 0
                log.info("stopping; %s may finish within %g s", count(running, "step"), grace_seconds)
        finally:
            await store.close()
    log.info("stopped")
    return ExitCode.OK
