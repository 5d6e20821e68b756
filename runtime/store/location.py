"""Where the store is when nobody says: what the environment or the project names, else the nearest ``.durable`` directory,
as git finds ``.git``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

FOLDER: Final = ".durable"
FILE: Final = "durable.db"


VARIABLE: Final = "DURABLE_STORE"


def find_url() -> str | None:
    """The URL that the environment (``DURABLE_STORE``) or else the project (``[tool.durable]``) names; None if none does.

    Raises:
        ConfigurationError: the project's settings are wrong.
    """
    if given := os.environ.get(VARIABLE):
        return given
    from runtime.settings import find_settings

    store: str | None = find_settings().get("store")
    return store


def find_store(start: Path | None = None) -> Path:
    """The database in the nearest directory, from ``start`` upwards, that has one; else where one would be made.

    Args:
        start: where to begin; the working directory by default.
    """
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        database = folder / FOLDER / FILE
        if database.is_file():
            return database
    return here / FOLDER / FILE
