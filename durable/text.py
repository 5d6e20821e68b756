"""Text as it can be kept: UTF-8 everywhere, and in names no NUL, which separates the columns that are hashed.

A Python string may hold half a surrogate pair: ``os.listdir`` makes some of every file name that is not UTF-8, and
``json.loads`` of ``"\\ud800"``. No store, hash or JSON takes it. What people read (log lines, messages of errors) is
escaped where it is taken; what is looked up by its name is refused where it is given.
"""

from __future__ import annotations

from durable.errors import DefinitionError
from durable.kernel.line import request_line


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
        raise DefinitionError(f"expected {what} to be a non-empty text, got {name!r}{request_line()}")
    return check_text(name, what)


def check_text(text: object, what: str) -> str:
    """Return the text if it can be kept; an empty one can.

    Raises:
        DefinitionError: it is no text or cannot be stored; the message says where the workflow asked.
    """
    if not isinstance(text, str):
        raise DefinitionError(f"expected {what} to be a text, got {text!r}{request_line()}")
    if not is_storable(text):
        raise DefinitionError(
            f"expected {what} to be a text that UTF-8 can hold, got {text!r}, which has half a surrogate pair"
            f"{request_line()}; if it names a file, use os.fsencode(name).hex() or repr(name)"
        )
    return text
