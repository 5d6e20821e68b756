"""A command of the table: takes negative numbers as arguments, where others would take them for flags, and only text that is text."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, Final

from typer import BadParameter
from typer.core import TyperCommand

_NUMBER: Final = re.compile(r"-\.?\d.*", re.DOTALL)
"""No flag begins like a number."""

_UNDECODED: Final = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes that it cannot decode."""

_PATHS: Final = frozenset({"store", "target", "targets", "file", "folder"})
"""Parameters that name files, and files may have any name."""


class Command(TyperCommand):
    """``durable update ID add -5`` needs no ``--`` before the value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, with negative numbers among the values."""
        options = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
        with_value = {name for param in options if not getattr(param, "is_flag", False) for name in param.opts}
        rest = super().parse_args(ctx, protect_numbers(args, with_value))
        for param in self.get_params(ctx):
            if param.name not in _PATHS:
                _check_text(ctx, param, ctx.params.get(param.name))
        return rest


def _check_text(ctx: Any, param: Any, value: Any) -> None:
    """Refuse bytes that are no UTF-8: they cannot be stored, compared or printed."""
    for text in value if isinstance(value, list | tuple) else (value,):
        if isinstance(text, str) and _UNDECODED.search(text):
            shown = repr(text.encode("utf-8", "surrogateescape"))[1:]
            raise BadParameter(f"{shown} is not UTF-8", ctx=ctx, param=param)


def protect_numbers(args: Sequence[str], with_value: Collection[str]) -> list[str]:
    """The arguments with all positional ones behind ``--``, if one of them is a negative number.

    Args:
        with_value: names of the flags that take the next argument as their value.
    """
    flags: list[str] = []
    values: list[str] = []
    rest = iter(args)
    for arg in rest:
        if arg == "--":
            values.extend(rest)
        elif arg in with_value:
            flags += [arg, *([value] if (value := next(rest, None)) is not None else [])]
        elif arg.startswith("-") and arg != "-" and not _NUMBER.fullmatch(arg):
            flags.append(arg)
        else:
            values.append(arg)
    has_number = any(_NUMBER.fullmatch(value) for value in values)
    return [*flags, "--", *values] if has_number else list(args)
