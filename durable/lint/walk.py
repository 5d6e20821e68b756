"""Walks over syntax trees that know, for every node, the scope in which its names are read."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from durable.lint.scope import COMPREHENSIONS, Scope

Place = tuple[ast.AST, Scope]
"""A node and its scope."""


def parts(node: ast.AST, scope: Scope) -> Iterator[Place]:
    """The nodes directly below one that are evaluated with it: no annotations, and of functions not the body."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            children = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
            yield from ((child, scope) for child in children)
        case ast.Lambda():
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            yield from ((child, scope) for child in defaults)
            yield node.body, scope.child(node)
        case ast.ClassDef():
            yield from ((child, scope) for child in (*node.decorator_list, *node.bases, *node.keywords))
            yield from ((child, scope.child(node)) for child in node.body)
        case ast.AnnAssign():
            yield from ((child, scope) for child in (node.target, node.value) if child is not None)
        case _ if isinstance(node, COMPREHENSIONS):
            inner = scope.child(node)
            yield node.generators[0].iter, scope
            for number, generator in enumerate(node.generators):
                rest = [generator.target, *generator.ifs, *([generator.iter] if number else [])]
                yield from ((child, inner) for child in rest)
            results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            yield from ((child, inner) for child in results)
        case _:
            yield from ((child, scope) for child in ast.iter_child_nodes(node))


def expressions(root: ast.AST, scope: Scope) -> Iterator[Place]:
    """A statement or expression with the expressions in it, without the statements in it."""
    stack: list[Place] = [(root, scope)]
    while stack:
        node, home = stack.pop()
        yield node, home
        stack.extend(part for part in parts(node, home) if not isinstance(part[0], ast.stmt))


def everything(root: Scope) -> Iterator[Place]:
    """Every node of a module or function, those of functions within included."""
    stack: list[Place] = [(node, root) for node in getattr(root.node, "body", ())]
    while stack:
        node, scope = stack.pop()
        yield node, scope
        stack.extend(parts(node, scope))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            stack.extend((child, scope.child(node)) for child in node.body)
