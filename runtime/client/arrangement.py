"""Arguments that are given as JSON values, by position and by keyword, in the form in which they are recorded: one object.

What ``*args`` and ``**kwargs`` take has keys of its own in it, which callers need not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from durable.codec.arguments import KEYWORDS, REST
from durable.errors import EncodeError


def arrange(
    workflow: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    parameters: Sequence[str],
    schema: Mapping[str, Any],
) -> dict[str, Any]:
    """The object form.

    Args:
        workflow: its name, for messages.
        parameters: all of its parameters, in order.
        schema: of the object form.

    Raises:
        EncodeError: there are too many arguments, or one is given twice.
    """
    known = schema.get("properties", {})
    names = list(takewhile(known.__contains__, parameters))
    fields = dict(zip(names, args, strict=False))
    rest = list(args[len(names) :])
    if rest and REST not in known:
        raise EncodeError(f"workflow {workflow!r} takes {len(names)} arguments, got {len(args)}")
    if rest:
        fields[REST] = rest
    further: dict[str, Any] = {}
    for name, value in kwargs.items():
        if name in fields:
            raise EncodeError(f"argument {name!r} of workflow {workflow!r} is given by position and by keyword")
        if name in known or KEYWORDS not in known:
            fields[name] = value
        else:
            further[name] = value
    if further:
        fields[KEYWORDS] = {**fields.get(KEYWORDS, {}), **further}
    return fields
