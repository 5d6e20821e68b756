"""A second process with another hash seed, in which runs are replayed: what depends on the order of a set of texts differs there.

The process starts with the first run that is checked and serves until this one ends. Requests and answers are lines of JSON
on its standard input and output. It imports the workflow by its module and name; one that is defined inside a function
cannot be imported, and one whose payloads pass through codecs cannot be read there: those are replayed here only, and
``WorkflowEnvironment.unchecked`` says so.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import select
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json

from durable.errors import DeterminismError, RunStuckError
from durable.history import Event
from durable.info import RunIdentity
from durable.kernel.replayer import Replayer
from durable.registry import Registry
from durable.testing.simulated import SimulatedRun
from durable.workflow import WorkflowDefinition

if TYPE_CHECKING:
    from types import ModuleType

    from durable.testing.fulfiller import Fulfiller

PATIENCE_SECONDS: Final = 60
"""How long an answer may take: the first one imports the test's modules."""


_INSIDE: Final = "DURABLE_MIRROR"
"""Set in the other process, which must not start a third."""


def replay_elsewhere(host: Fulfiller) -> None:
    """Replay the runs of an environment in a process with another hash seed.

    Raises:
        RunStuckError: a run asks for something else there; the message names both sides.
    """
    __tracebackhide__ = True
    if _INSIDE in os.environ:  # what a module that was imported there does when it is imported
        return
    for run in host.runs.values():
        if run.is_mirrored or not run.history or run.stuck is not None:
            continue
        run.is_mirrored = True
        answer = _why_not(host, run) or _mirror().ask(_request(run))
        if "differs" in answer:
            lines = [line for line in answer["differs"].splitlines() if not line.startswith("  remedy:")]
            lines.append("  remedy:    sort what is iterated: most likely it is a set, or the code uses hash() or id()")
            raise RunStuckError(
                f"{run.workflow_id!r} does not replay in a process with another hash seed (PYTHONHASHSEED={answer['seed']}): "
                + "\n".join(lines),
                workflow_id=run.workflow_id,
                run_id=run.run_id,
            )
        if "unchecked" in answer:
            host.unchecked.setdefault(run.workflow, answer["unchecked"])


def _why_not(host: Fulfiller, run: SimulatedRun) -> dict[str, str] | None:
    if host.is_private:
        return {"unchecked": "its payloads pass through codecs, or interceptors are around it"}
    if "<locals>" in run.definition.fn.__qualname__:
        return {"unchecked": "it is defined inside a function"}
    return None


def _request(run: SimulatedRun) -> dict[str, Any]:
    function = run.definition.fn
    module = sys.modules.get(function.__module__)
    identity = run.identity
    return {
        "path": sys.path,
        "module": function.__module__,
        "file": getattr(module, "__file__", None),
        "name": function.__qualname__,
        "identity": [
            identity.workflow_id, identity.run_id, identity.workflow, identity.origin_id, identity.first_run_id,
            identity.parent_run_id, identity.attempt,
        ],
        "history": [[*event[:-1], event.hash.hex()] for event in run.history],
    }  # fmt: skip


class Mirror:
    """The other process, from here."""

    def __init__(self) -> None:
        self.seed = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
        program = "from durable.testing.mirror import serve; serve()"
        self._process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": self.seed, _INSIDE: "1"},
        )
        atexit.register(self.close)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def ask(self, request: dict[str, Any]) -> dict[str, str]:
        """Replay one run there: ``differs``, ``unchecked`` or neither."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(to_json(request) + b"\n")
            stdin.flush()
        except BrokenPipeError:
            return {"unchecked": "the other process has ended"}
        if not select.select([stdout], [], [], PATIENCE_SECONDS)[0]:
            return {"unchecked": f"the other process does not answer within {PATIENCE_SECONDS} s"}
        line = stdout.readline()
        if not line:
            return {"unchecked": "the other process has ended"}
        answer: dict[str, str] = from_json(line)
        return answer | {"seed": self.seed}


@cache
def _mirror() -> Mirror:
    return Mirror()


# -- the other process ------------------------------------------------------------------------------------


def serve() -> None:
    """Answer until standard input ends. What imported modules print goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        answers.write(to_json(_answer(from_json(line))) + b"\n")
        answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, str]:
    sys.path[:] = request["path"]
    try:
        target: Any = _import(request["module"], request["file"])
        for part in request["name"].split("."):
            target = getattr(target, part)
    except BaseException as error:  # noqa: BLE001 - whatever a module does when it is imported
        return {"unchecked": f"it cannot be imported ({type(error).__name__}: {error})"}
    if not isinstance(target, WorkflowDefinition):
        return {"unchecked": f"{request['name']!r} in {request['module']!r} is something else"}
    history = [Event._make([*row[:-1], bytes.fromhex(row[-1])]) for row in request["history"]]
    run = Replayer(target, RunIdentity(*request["identity"]), registry=Registry([target]), ids=lambda: "", strict=True)
    try:
        run.load(history)
    except (Exception, DeterminismError) as error:  # noqa: BLE001 - whatever stops the replay
        return {"differs": str(error)}
    finally:
        run.evict()
    return {}


def _import(name: str, file: str | None) -> ModuleType:
    """A module by its name, or where that finds another one, by its file; a script is not run as ``__main__``."""
    known = "durable_main" if name == "__main__" else name
    if known in sys.modules:
        return sys.modules[known]
    if name != "__main__":
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
        else:
            if file is None or getattr(module, "__file__", None) == file:
                return module
    spec = importlib.util.spec_from_file_location(known, file) if file is not None else None
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(name)
    module = sys.modules[known] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
