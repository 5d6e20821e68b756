"""The table of commands, and the way from the arguments of the process to one of them.

Only the module of the command that is asked for is imported, and its body imports the engine only when it runs: help
must not wait for what it does not need.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from runtime.cli.command import Command
from runtime.cli.exitcode import ExitCode


class Entry(NamedTuple):
    """Where a command is.

    Attributes:
        module, function: the code.
        panel: the group under which help lists it.
    """

    module: str
    function: str
    panel: str


RUNNING: Final = "Running workflows"
PROVING: Final = "Proving workflows"
LOOKING: Final = "Looking"
TALKING: Final = "Talking to runs"
STEERING: Final = "Steering runs"
CHECKING: Final = "Checking code"
KEEPING: Final = "Keeping house"

COMMANDS: Final[dict[str, Entry]] = {
    "run": Entry("run", "run", RUNNING),
    "worker": Entry("worker", "worker", RUNNING),
    "start": Entry("start", "start", RUNNING),
    "init": Entry("project", "init", RUNNING),
    "check": Entry("check", "check", PROVING),
    "list": Entry("look", "list_runs", LOOKING),
    "show": Entry("look", "show", LOOKING),
    "status": Entry("look", "show", LOOKING),
    "history": Entry("look", "history", LOOKING),
    "logs": Entry("look", "logs", LOOKING),
    "inbox": Entry("look", "inbox", LOOKING),
    "signal": Entry("message", "signal", TALKING),
    "query": Entry("message", "query", TALKING),
    "update": Entry("message", "update", TALKING),
    "answer": Entry("message", "answer", TALKING),
    "approve": Entry("message", "approve", TALKING),
    "reject": Entry("message", "reject", TALKING),
    "cancel": Entry("steer", "cancel", STEERING),
    "terminate": Entry("steer", "terminate", STEERING),
    "pause": Entry("steer", "pause", STEERING),
    "resume": Entry("steer", "resume", STEERING),
    "retry": Entry("steer", "retry", STEERING),
    "rollback": Entry("undo", "rollback", STEERING),
    "replay": Entry("replay", "replay", CHECKING),
    "debug": Entry("debug", "debug", CHECKING),
    "graph": Entry("graph", "graph", CHECKING),
    "export": Entry("transfer", "export_run", KEEPING),
    "import": Entry("transfer", "import_run", KEEPING),
    "purge": Entry("house", "purge", KEEPING),
    "backup": Entry("house", "backup", KEEPING),
    "bench": Entry("house", "bench", KEEPING),
    "version": Entry("house", "version", KEEPING),
}

ALIASES: Final = {"status": "show"}
"""Second names of commands."""

_COMPLETE: Final = "_DURABLE_COMPLETE"

_ArgumentError: Final[Any] = typer.BadParameter.__mro__[2]
"""The root of what is wrong with arguments; depending on its version, typer has it from click or brings its own."""

EPILOG: Final = "Exit codes: " + ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)


def run_app(args: Sequence[str]) -> None:
    """Run the command that these arguments name, and exit."""
    wanted = next((arg for arg in args if not arg.startswith("-")), None)
    as_json = "--json" in args
    if wanted is None or wanted not in COMMANDS or _COMPLETE in os.environ:
        _invoke(build_app(), args, {}, as_json=as_json)
        return
    needs_help = not {"--help", "-h"}.isdisjoint(args)
    defaults = {} if needs_help else _read_settings(as_json=as_json)
    _invoke(build_app([wanted]), args, {wanted: defaults}, as_json=as_json)


def _invoke(app: typer.Typer, args: Sequence[str], defaults: dict[str, Any], *, as_json: bool) -> None:
    """Run the command and exit; for programs, what is wrong with the arguments is told like every other error."""
    if not as_json or _COMPLETE in os.environ:
        app(args=list(args), prog_name="durable", default_map=defaults)
        return
    try:
        code = app(args=list(args), prog_name="durable", default_map=defaults, standalone_mode=False)
    except typer.Abort:
        sys.exit(ExitCode.USAGE)
    except _ArgumentError as error:
        load_own_packages()
        from durable.errors import ConfigurationError
        from runtime.cli.failure import report

        report(ConfigurationError(error.format_message()), as_json=True)
        sys.exit(ExitCode.USAGE)
    sys.exit(code or ExitCode.OK)


def _read_settings(*, as_json: bool) -> dict[str, Any]:
    load_own_packages()
    from durable.errors import ConfigurationError
    from runtime.cli.failure import exit_code_of, report
    from runtime.settings import find_settings

    try:
        return find_settings()
    except ConfigurationError as error:
        report(error, as_json=as_json)
        sys.exit(exit_code_of(error))


def build_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The application with these commands."""
    app = typer.Typer(
        name="durable",
        help="Durable execution: workflows that survive crashes, restarts and weeks of waiting.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(invoke_without_command=True)(_begin)
    for name in names:
        entry = COMMANDS[name]
        function = getattr(import_module(f"runtime.cli.{entry.module}"), entry.function)
        alias = ALIASES.get(name)
        app.command(
            name, cls=Command, rich_help_panel=entry.panel, help=f"The same as {alias}." if alias is not None else None
        )(_guarded(function))
    return app


def _begin(
    show_version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        from runtime.cli.house import own_version

        print(own_version())
        raise typer.Exit


def load_own_packages() -> None:
    """Import ``durable`` and ``runtime`` from where this file is, whatever lies in the working directory.

    From then on both names are taken, and a ``durable.py`` beside the user's code cannot come in between.
    """
    home = str(Path(__file__).resolve().parents[2])
    sys.path.insert(0, home)
    try:
        import durable  # noqa: F401
        import runtime  # noqa: F401
    finally:
        sys.path.remove(home)


def _guarded(function: Callable[..., Any]) -> Callable[..., None]:
    """The command with its exceptions told as messages and exit codes."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        raise typer.Exit(_call(function, args, kwargs))

    return command


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    from durable.errors import DeterminismError, DurableError
    from runtime.cli.failure import exit_code_of, report
    from runtime.cli.stdout import kept_for_results

    try:
        with kept_for_results() if kwargs.get("as_json") and _prints_beside_code(function, kwargs) else nullcontext():
            return int(function(*args, **kwargs) or ExitCode.OK)
    except (DurableError, DeterminismError) as error:
        report(error, as_json=bool(kwargs.get("as_json")))
        return exit_code_of(error)
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read our output has gone, as head does
            raise
        return _give_up()
    except Exception:  # noqa: BLE001 - a fault of ours must not look like a failed run
        return _give_up()


def _prints_beside_code(function: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a command prints results in a process that may run the user's code; a worker prints none."""
    return "codecs" in kwargs and function.__name__ != "worker"


def _give_up() -> int:
    import traceback

    traceback.print_exc()
    print("This is a fault of durable; please report it.", file=sys.stderr)
    return ExitCode.INTERNAL
