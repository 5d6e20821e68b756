"""Targets: ``file.py``, ``file.py:workflow``, ``module`` or ``module:workflow``, and what they hold."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from durable.errors import ConfigurationError
from durable.step import StepDefinition
from durable.workflow import WorkflowDefinition

_OURS: Final = ("durable", "runtime")
"""The packages that this distribution installs."""


def load_file(path: str | Path) -> ModuleType:
    """Import a Python file under its stem, its directory first on the path, as ``python file.py`` would.

    Raises:
        ConfigurationError: there is no such file, or another module has its name.
    """
    file = Path(path).resolve()
    if file.is_dir():
        raise ConfigurationError(f"{path} is a directory; name a Python file in it, such as {Path(path) / 'app.py'}")
    if not file.is_file():
        raise ConfigurationError(f"there is no file {path}")
    name = file.stem
    known = sys.modules.get(name)
    if known is not None:
        if getattr(known, "__file__", None) and Path(known.__file__ or "").resolve() == file:
            return known
        raise ConfigurationError(
            f"{path} would be imported as {name!r}, but another module has that name "
            f"({getattr(known, '__file__', 'built in')}); rename the file"
        )
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ImportError) and "attempted relative import with no known parent" in str(error):
            raise ConfigurationError(
                f"{path} is part of a package ({error}): name it as a module, {_dotted(file)}"
            ) from error
        raise
    return module


def _dotted(file: Path) -> str:
    """The name by which a file would be imported as part of its package, and from where, if that is not here."""
    home = next(folder for folder in file.parents if not (folder / "__init__.py").exists())
    if home == file.parent:  # a package without that file
        home = file.parents[1]
    name = ".".join(file.relative_to(home).with_suffix("").parts)
    return name if home == Path.cwd() else f"{name}, in {home}"


def load_target(target: str) -> tuple[ModuleType, WorkflowDefinition[..., Any] | None]:
    """The module of a target, and the workflow that it names, if it names one.

    Raises:
        ConfigurationError: there is no such file, module or workflow.
    """
    location, _, attribute = target.partition(":")
    if location.endswith(".py") or "/" in location or location in (".", ".."):
        module = load_file(location)
    elif not all(part.isidentifier() for part in location.split(".")):
        raise ConfigurationError(
            f"expected a target like app.py, app.py:workflow, module or module:workflow, got {target!r}"
        )
    else:
        _check_collision(location)
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            module = importlib.import_module(location)
        except ModuleNotFoundError as error:
            if error.name is not None and (location == error.name or location.startswith(f"{error.name}.")):
                raise ConfigurationError(
                    f"there is no module {location!r}; for a file write its path, such as {location}.py"
                ) from error
            raise
    if not attribute:
        return module, None
    value = getattr(module, attribute, None)
    if value is not None and not isinstance(value, WorkflowDefinition):
        kind = "a step" if isinstance(value, StepDefinition) else f"a {type(value).__name__}"
        raise ConfigurationError(f"{attribute!r} in {location} is {kind}, not a workflow; decorate it with @workflow")
    if value is None:
        names = ", ".join(sorted(workflows_of(module))) or "none"
        raise ConfigurationError(f"{location} has no workflow {attribute!r} (workflows: {names})")
    return module, value


def _check_collision(location: str) -> None:
    """Refuse a module of the user's that has the name of a package of ours: importing it would find ours."""
    name = location.partition(".")[0]
    own = next((path for path in (Path(f"{name}.py"), Path(name)) if path.exists()), None) if name in _OURS else None
    if own is not None and own.resolve() != Path(__file__).resolve().parents[1] / name:
        raise ConfigurationError(
            f"{location!r} would be imported from durable's own package {name!r}, not from {own}; rename {own} "
            "(docs/limits.md, module names)"
        )


def workflows_of(module: ModuleType) -> dict[str, WorkflowDefinition[..., Any]]:
    """The workflows among a module's names, by name of the definition."""
    return {value.name: value for value in vars(module).values() if isinstance(value, WorkflowDefinition)}
