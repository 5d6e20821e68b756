"""What a check yields: a place in the syntax and what is wrong there."""

from __future__ import annotations

import ast
from typing import NamedTuple


class Problem(NamedTuple):
    """One mistake.

    Attributes:
        code: of the check.
        node: the place.
        message: what is wrong and why; ``{where}`` stands for the function.
        remedy: what to write instead.
    """

    code: str
    node: ast.AST
    message: str
    remedy: str
