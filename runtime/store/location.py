"""Where the store is when nobody says: the nearest ``.durable`` directory, as git finds ``.git``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = ".durable"
FILE: Final = "durable.db"


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
