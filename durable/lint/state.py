"""Finds what runs share without history knowing: globals that are changed, or that change."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from durable.lint.inference import Inference
from durable.lint.problem import Problem
from durable.lint.region import Region
from durable.lint.value import Kind
from durable.lint.variable import Changes, changed_by, root_variable, variable_of


def check(region: Region, inference: Inference, changes: Changes) -> Iterator[Problem]:
    """Yield the changes of globals in a region, and its readings of globals that are changed somewhere."""
    changed: set[ast.AST] = set()
    for spot in region.spots:
        if spot.is_unguarded:
            continue
        for item in changed_by(spot.node, spot.scope, inference):
            found = root_variable(item, spot.scope, inference)
            if found is not None:
                changed.add(found[1])
                yield Problem(
                    "DURL402",
                    spot.node,
                    f"the global {found[0].name} is changed{{where}}: replay changes it again, and other runs see it",
                    "keep it in a local variable, or change it in a step",
                )
            elif any(value.kind is Kind.CLASS for value in inference.infer(item, spot.scope)):
                yield Problem(
                    "DURL402",
                    spot.node,
                    f"an attribute of the class {ast.unparse(item)} is changed{{where}}: replay changes it again, and "
                    "other runs see it",
                    "keep it in an object or a local variable",
                )
    for spot in region.spots:
        node = spot.node
        if spot.is_unguarded or node in changed or not isinstance(node, (ast.Name, ast.Attribute)):
            continue
        if isinstance(node.ctx, ast.Load) and node not in region.handed:
            variable = variable_of(node, spot.scope, inference)
            if variable is not None and variable in changes:
                yield Problem(
                    "DURL401",
                    node,
                    f"the global {variable.name} is read{{where}}, which functions change: on replay it holds something else",
                    "pass it in as an argument, or read it in a step",
                )
