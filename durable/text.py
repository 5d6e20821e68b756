"""Text that the author gave: what of it can be kept, and where it was given, for messages.

UTF-8 everywhere, and in names no NUL, which separates the columns that are hashed.

A Python string may hold half a surrogate pair: ``os.listdir`` makes some of every file name that is not UTF-8, and
``json.loads`` of ``"\\ud800"``. No store, hash or JSON takes it. What people read (log lines, messages of errors) is
escaped where it is taken; what is looked up by its name is refused where it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from durable.errors import DefinitionError
from durable.kernel.line import asked_at
from durable.kernel.location import definition_place


def escape(text: str) -> str:
    """The text with half surrogates written out, as ``\\ud800``."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def is_storable(text: str) -> bool:
    """Whether UTF-8 can hold the text."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(name: object, what: str) -> str:
    """Return the name if it can be kept and looked up.

    Args:
        name: what the author gave.
        what: whose name it is, as in ``the key of a published value``.

    Raises:
        DefinitionError: it is no text, empty, or cannot be stored; the message says where the workflow asked.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise DefinitionError(f"expected {what} to be a non-empty text, got {name!r}{asked_at()}")
    return check_text(name, what)


def check_text(text: object, what: str) -> str:
    """Return the text if it can be kept; an empty one can.

    Raises:
        DefinitionError: it is no text or cannot be stored; the message says where the workflow asked.
    """
    if not isinstance(text, str):
        raise DefinitionError(f"expected {what} to be a text, got {text!r}{asked_at()}")
    if not is_storable(text):
        raise DefinitionError(
            f"expected {what} to be a text that UTF-8 can hold, got {text!r}, which has half a surrogate pair"
            f"{asked_at()}; if it names a file, use os.fsencode(name).hex() or repr(name)"
        )
    return text


def check_attributes(attributes: Mapping[str, object]) -> None:
    """Refuse what cannot be searched for; JSON has neither infinities nor NaN.

    Raises:
        DefinitionError: a value is not a text, finite number, boolean or None.
    """
    for name, value in attributes.items():
        check_name(name, "the name of an attribute")
        if isinstance(value, str):
            check_text(value, f"attribute {name}")
        elif value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise DefinitionError(
                f"expected attribute {name} to be a text, finite number or boolean, got {value!r}{asked_at()}"
            )


@contextmanager
def defined_by(function: Callable[..., Any]) -> Iterator[None]:
    """Return a context manager that adds to a definition error where the function stands."""
    try:
        yield
    except DefinitionError as error:
        place = definition_place(function)
        if place:
            error.message = f"{error.message} (defined{place})"
            error.args = (error.message,)
        raise
