"""The program of the process that replays histories with the code of another revision (``runtime.replay.comparison``)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from durable.errors import ConfigurationError, DurableError
from durable.registry import Registry
from durable.replay import Recording, ReplayReport
from durable.replay.report import Breakage
from runtime.cli.session import Session
from runtime.cli.target import load_all
from runtime.replay.comparison import report_fields
from runtime.replay.file import recordings_in
from runtime.replay.guard import Against, recordings_of, replay_all
from runtime.replay.selection import Selection
from runtime.store.url import open_store


def main(request_file: str) -> None:
    """Do what the request says, and write the reply.

    Args:
        request_file: JSON, as ``replay_elsewhere`` writes it.
    """
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    sys.path[:] = request["path"]
    try:
        answer: dict[str, Any] = {"reports": [report_fields(report) for report in asyncio.run(_replay(request))]}
    except DurableError as error:
        answer = {"error": error.message}
    Path(request["reply"]).write_text(json.dumps(answer), encoding="utf-8")


async def _replay(request: dict[str, Any]) -> list[ReplayReport]:
    code = load_all(request["targets"])
    _check_origin([module.__file__ for module in code.modules], request)
    session = Session(request["store"], request["codecs"])
    against = Against(Registry(code.workflows, code.steps), session.load_codecs(), strict=request["strict"])
    reports: list[ReplayReport] = []

    def keep(report: ReplayReport, recording: Recording) -> None:  # noqa: ARG001 - one shape for all
        if not report.ok:
            reports.append(_without_prefix(report, os.getcwd() + os.sep))  # noqa: PTH109 - a prefix of texts

    if request["files"]:
        await replay_all(recordings_in(request["files"]), against, keep)
        return reports
    store = open_store(request["store"], read_only=True)
    await store.open()
    try:
        limits = request["limits"]
        await replay_all(recordings_of(store, Selection(run_ids=tuple(limits)), limits), against, keep)
    finally:
        await store.close()
    return reports


def _check_origin(files: list[str | None], request: dict[str, Any]) -> None:
    """Refuse code that is that of the working tree after all.

    Raises:
        ConfigurationError: a module was not loaded from the revision, though the repository has it.
    """
    for file in files:
        path = Path(file or "").resolve()
        if path.is_relative_to(request["repository"]) and not path.is_relative_to(request["tree"]):
            raise ConfigurationError(f"{path} was loaded, and not the revision's own; name the target by its file")


def _without_prefix(report: ReplayReport, prefix: str) -> ReplayReport:
    """The report with files told from the working directory, as they are the same in both trees."""

    def told(one: Breakage) -> Breakage:
        return replace(one, **{name: getattr(one, name).replace(prefix, "") for name in ("where", "cause", "message")})

    stop = None if report.stop is None else told(report.stop)
    return replace(report, stop=stop, differences=tuple(map(told, report.differences)))
