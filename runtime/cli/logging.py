"""Log lines of ``run`` and ``worker`` on standard error."""

from __future__ import annotations

import logging

from durable.errors import ConfigurationError
from runtime.settings import SETTINGS
from runtime.worker.logs import configure_logging

_FORMATS = ("auto", "human", "json")


def begin_logging(level: str, log_format: str) -> None:
    """Show log lines from now on.

    Raises:
        ConfigurationError: there is no such level or format.
    """
    levels = logging.getLevelNamesMapping()
    if level.upper() not in levels:
        raise ConfigurationError(
            f"expected the log level ({_places('log_level')}) to be debug, info, warning or error, got {level!r}"
        )
    if log_format not in _FORMATS:
        raise ConfigurationError(
            f"expected the log format ({_places('log_format')}) to be one of {', '.join(_FORMATS)}, got {log_format!r}"
        )
    configure_logging(level, log_format)  # type: ignore[arg-type]


def _places(setting: str) -> str:
    """Where a setting may come from."""
    flag = setting.replace("_", "-")
    return f"--{flag}, {SETTINGS[setting].variable}, or {setting} in [tool.durable]"
