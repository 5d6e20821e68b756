"""``[tool.durable]`` of pyproject.toml: the defaults below ``DURABLE_*`` variables and the command's flags.

The command fills in its parameters from it; a client without a URL its store, so that both mean the same one.

It is the file of the nearest directory, from the working directory upwards, that has the table; relative paths in it
count from there.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

from durable.errors import ConfigurationError


class Setting(NamedTuple):
    """One key of ``[tool.durable]``.

    Attributes:
        parameter: of the commands whose default it is.
        kind: type of its value.
        variable: of the environment, which wins over the file.
        meaning: what it sets.
    """

    parameter: str
    kind: type
    variable: str
    meaning: str


SETTINGS: Final[dict[str, Setting]] = {
    "store": Setting("store", str, "DURABLE_STORE", "URL of the store; a relative path counts from the file"),
    "actor": Setting("by", str, "DURABLE_ACTOR", "in whose name the command acts"),
    "codecs": Setting("codecs", str, "DURABLE_CODECS", "MODULE:NAME of a list of payload codecs"),
    "targets": Setting("targets", list, "DURABLE_TARGETS", "what `durable worker` serves"),
    "queues": Setting("queue", list, "DURABLE_QUEUES", "which queues are served"),
    "max_concurrent_steps": Setting("max_concurrent_steps", int, "DURABLE_MAX_CONCURRENT_STEPS", "steps at once"),
    "grace": Setting("grace", str, "DURABLE_GRACE", "how long steps may finish when the process ends"),
    "log_level": Setting("log_level", str, "DURABLE_LOG_LEVEL", "lowest level that is shown"),
    "check_select": Setting("select", list, "DURABLE_CHECK_SELECT", "codes that `durable check` looks for"),
    "check_ignore": Setting("ignore", list, "DURABLE_CHECK_IGNORE", "codes that `durable check` leaves out"),
    "log_format": Setting("log_format", str, "DURABLE_LOG_FORMAT", "human, json or auto"),
}
"""By key. Lists in variables are separated by spaces."""

_TYPES: Final = {str: "a text", int: "a whole number", list: "a list of texts"}


def find_settings(start: Path | None = None) -> dict[str, Any]:
    """Defaults by name of the parameter.

    Args:
        start: where to begin; the working directory by default.

    Raises:
        ConfigurationError: the file is no TOML, or a setting is unknown or of the wrong type.
    """
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        table = _table(file) if file.is_file() else None
        if table is not None:
            return _defaults(table, file)
    return {}


def _table(file: Path) -> dict[str, Any] | None:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    if "durable" not in text:
        return None
    try:
        tool = tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file} is not TOML: {error}") from error
    table = tool.get("durable") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigurationError(f"expected [tool.durable] in {file} to be a table, got {table!r}")
    return table


def _defaults(table: dict[str, Any], file: Path) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for name, value in table.items():
        if name not in SETTINGS:
            close = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            known = ", ".join(SETTINGS)
            raise ConfigurationError(f"unknown setting {name!r} in [tool.durable] of {file}{hint} (known: {known})")
        parameter, kind, _, _ = SETTINGS[name]
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits or (kind is list and not all(isinstance(item, str) for item in value)):
            raise ConfigurationError(f"expected tool.durable.{name} in {file} to be {_TYPES[kind]}, got {value!r}")
        defaults[parameter] = value
    if "store" in defaults:
        defaults["store"] = _anchored(defaults["store"], file.parent)
    if "targets" in defaults:
        defaults["targets"] = [_anchored_target(target, file.parent) for target in defaults["targets"]]
    return defaults


def _anchored(url: str, folder: Path) -> str:
    """The URL of a SQLite store with its path counted from ``folder``."""
    path = url.removeprefix("sqlite:///")
    if path == url or path.startswith("/"):
        return url
    return f"sqlite:///{str(folder).replace('%', '%25')}/{path}"


def _anchored_target(target: str, folder: Path) -> str:
    location, colon, name = target.partition(":")
    return f"{folder / location}{colon}{name}" if location.endswith((".py", ".yaml", ".yml")) else target
