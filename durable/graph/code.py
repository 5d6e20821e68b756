"""From the source of a workflow to its picture, by syntax alone: nothing is run.

An operation is a call of a method of the context. Functions of the same module that are given the context are drawn where they are
called. What has neither an operation nor an end in it (logging, arithmetic, a loop over values) is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Final

from durable.errors import DefinitionError
from durable.graph.shape import Branch, Group, Node, Operation, Picture
from durable.graph.syntax import Function, called, clip, compensation_of, is_context_call, subject, text_of

_DEPTH: Final = 4
"""How deep functions that call each other are drawn."""

_GROUPS: Final = frozenset({"TaskGroup", "create_task_group"})
_LIMITS: Final = frozenset({"timeout", "timeout_at", "fail_after", "move_on_after", "fail_at", "move_on_at"})
_TOGETHER: Final = frozenset({"gather", "wait", "as_completed"})
_STARTERS: Final = frozenset({"create_task", "start_soon", "ensure_future", "start"})


def draw_code(source: str, function: str, line: int = 0) -> Picture:
    """The picture of a workflow.

    Args:
        source: of its module.
        function: its name there.
        line: where it begins, if there are several of the name.

    Raises:
        DefinitionError: the source has no such function, or cannot be parsed.
    """
    try:
        module = ast.parse(source)
    except SyntaxError as error:
        raise DefinitionError(f"the source of {function!r} cannot be parsed: {error}") from error
    known: dict[str, Function] = {}
    found: Function | None = None
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            known.setdefault(node.name, node)
            if node.name == function and (found is None or line in (node.lineno, *_decorated(node))):
                found = node
    if found is None:
        raise DefinitionError(f"the source has no function {function!r}")
    walker = _Walker(known)
    nodes = walker.body(found)
    if not nodes or not _ends(nodes):
        nodes = [*nodes, Operation("end", "end")]
    return Picture(function, nodes, walker.handlers)


def _decorated(node: Function) -> list[int]:
    return [decorator.lineno for decorator in node.decorator_list]


class _Walker:
    """Walks one workflow; knows by what name each function calls the context."""

    def __init__(self, known: dict[str, Function]) -> None:
        self.handlers: list[Branch] = []
        self._known = known
        self._ctx = "ctx"
        self._stack: list[str] = []

    def body(self, function: Function, context: str | None = None) -> list[Node]:
        """The nodes of a function, which calls the context by its first parameter's name unless it is given another."""
        parameters = [*function.args.posonlyargs, *function.args.args]
        before, self._ctx = self._ctx, context or (parameters[0].arg if parameters else "ctx")
        self._stack.append(function.name)
        try:
            return self.block(function.body)
        finally:
            self._stack.pop()
            self._ctx = before

    def block(self, statements: Sequence[ast.stmt]) -> list[Node]:
        nodes: list[Node] = []
        for statement in statements:
            nodes += self._statement(statement)
            if nodes and _ends(nodes):
                break
        return nodes

    # -- statements ---------------------------------------------------------------------------------------

    def _statement(self, node: ast.stmt) -> list[Node]:  # noqa: PLR0911 - one a kind of statement
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._inner_function(node)
            case ast.If():
                arms = [Branch("yes", self.block(node.body)), Branch("no", self.block(node.orelse))]
                return [*self.operations(node.test), *_choice(clip(f"if {ast.unparse(node.test)}"), arms)]
            case ast.Match():
                cases = [Branch(clip(ast.unparse(one.pattern), 24), self.block(one.body)) for one in node.cases]
                return [*self.operations(node.subject), *_choice(clip(f"match {ast.unparse(node.subject)}"), cases)]
            case ast.For() | ast.AsyncFor():
                head = f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}"
                inner = [*self.operations(node.iter)] if isinstance(node, ast.AsyncFor) else []
                before = [] if inner else self.operations(node.iter)
                return [*before, *_loop(head, [*inner, *self.block(node.body)]), *self.block(node.orelse)]
            case ast.While():
                inside = [*self.operations(node.test), *self.block(node.body)]
                return [*_loop(f"while {ast.unparse(node.test)}", inside), *self.block(node.orelse)]
            case ast.With() | ast.AsyncWith():
                return self._with(node)
            case ast.Try() | ast.TryStar():
                return self._try(node)
            case ast.Return():
                return [*self.operations(node.value), Operation("return", "return")]
            case ast.Raise():
                name = "" if node.exc is None else f" {text_of(node.exc)}"
                return [*self.operations(node.exc), Operation("raise", f"raise{name}")]
            case ast.Break() | ast.Continue():
                word = type(node).__name__.lower()
                return [Operation(word, word)]
            case ast.ClassDef():
                return []
            case _:
                return self.operations(node)

    def _inner_function(self, node: Function) -> list[Node]:
        self._known[node.name] = node
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and is_context_call(decorator, self._ctx) and called(decorator) == "on":
                message = text_of(decorator.args[0]) if decorator.args else node.name
                self.handlers.append(Branch(f"on {message}", self.body(node, self._ctx)))
        return []

    def _with(self, node: ast.With | ast.AsyncWith) -> list[Node]:
        nodes = self.block(node.body)
        for item in reversed(node.items):
            call = item.context_expr
            name = called(call) if isinstance(call, ast.Call) else ""
            if isinstance(call, ast.Call) and is_context_call(call, self._ctx) and name == "saga":
                nodes = _frame("saga", "saga: undone together", nodes)
            elif name in _GROUPS:
                nodes = _together(nodes)
            elif name in _LIMITS and isinstance(call, ast.Call):
                nodes = _frame("limit", f"within {text_of(call.args[0]) if call.args else '...'} s", nodes)
            else:
                nodes = [*self.operations(call), *nodes]
        return nodes

    def _try(self, node: ast.Try | ast.TryStar) -> list[Node]:
        branches = [Branch("", [*self.block(node.body), *self.block(node.orelse)])]
        for handler in node.handlers:
            name = "" if handler.type is None else f" {ast.unparse(handler.type)}"
            branches.append(Branch(clip(f"except{name}"), self.block(handler.body)))
        final = self.block(node.finalbody)
        if not any(branch.nodes for branch in branches):
            return final
        return [Group("try", "try", branches), *final]

    # -- expressions --------------------------------------------------------------------------------------

    def operations(self, node: ast.AST | None) -> list[Node]:
        """The operations in an expression or a simple statement, in the order of evaluation."""
        match node:
            case None | ast.Lambda():
                return []
            case ast.IfExp():
                arms = [Branch("yes", self.operations(node.body)), Branch("no", self.operations(node.orelse))]
                return [*self.operations(node.test), *_choice(clip(f"if {ast.unparse(node.test)}"), arms)]
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                head = " ".join(ast.unparse(one) for one in node.generators)
                inner = [part for child in _results(node) for part in self.operations(child)]
                return _loop(clip(head), inner)
            case ast.Call():
                return self._call(node)
            case _:
                return [part for child in ast.iter_child_nodes(node) for part in self.operations(child)]

    def _call(self, node: ast.Call) -> list[Node]:
        name = called(node)
        if is_context_call(node, self._ctx):
            return self._context_call(node, name)
        inside = [*node.args, *(keyword.value for keyword in node.keywords)]
        if name in _TOGETHER:
            branches = [self.operations(argument) for argument in inside]
            return _together([part for branch in branches for part in branch])
        if name == "wait_for" and len(node.args) > 1:
            return _frame("limit", f"within {text_of(node.args[1])} s", self.operations(node.args[0]))
        nodes = [part for argument in inside for part in self.operations(argument)]
        if name in _STARTERS and node.args and isinstance(node.args[0], ast.Name):  # tg.start_soon(helper, ctx)
            nodes += self._helper(node.args[0].id, node.args[1:])
        if isinstance(node.func, ast.Attribute):
            nodes = [*self.operations(node.func.value), *nodes]
        elif isinstance(node.func, ast.Name):
            nodes += self._helper(node.func.id, inside)
        return nodes

    def _helper(self, name: str, arguments: Sequence[ast.expr]) -> list[Node]:
        """A function of the module that is given the context, drawn where it is called."""
        function = self._known.get(name)
        if function is None or name in self._stack or len(self._stack) > _DEPTH:
            return []
        place = next((at for at, one in enumerate(arguments) if text_of(one) == self._ctx), None)
        parameters = [*function.args.posonlyargs, *function.args.args]
        is_inner = not parameters or place is None
        if place is not None and place < len(parameters):
            return _frame("helper", name, _without_returns(self.body(function, parameters[place].arg)))
        return _frame("helper", name, _without_returns(self.body(function, self._ctx))) if is_inner else []

    def _context_call(self, node: ast.Call, name: str) -> list[Node]:  # noqa: PLR0911 - one a kind of operation
        first = node.args[0] if node.args else None
        arguments = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
        before = [part for one in arguments for part in self.operations(one)]
        match name:
            case "step":
                undo = compensation_of(first, self._known)
                return [*before, Operation("step", subject(first), f"undone by {undo}" if undo else "")]
            case "child_workflow" | "start_child":
                return [*before, Operation("child", subject(first))]
            case "sleep" | "sleep_until":
                words = "sleep until" if name == "sleep_until" else "sleep"
                return [Operation("timer", f"{words} {text_of(first)}")]
            case "ask_user" | "ask_approval":
                return [
                    Operation("question", clip(text_of(first), 48), "approval" if name == "ask_approval" else "answer")
                ]
            case "wait_signal" | "signals":
                return [Operation("signal", f"signal {text_of(first)}")]
            case "wait_condition":
                predicate = first.body if isinstance(first, ast.Lambda) else first
                return [Operation("condition", clip(f"until {text_of(predicate)}"))]
            case "signal" | "cancel":  # of ctx.workflow(id)
                return [Operation("message", clip(f"{name} {text_of(first)}".strip()))]
            case "compensate":
                return [Operation("undo", f"undo later: {subject(first)}")]
            case "rollback":
                return [Operation("rollback", "roll back")]
            case "continue_as_new":
                return [Operation("return", "continue as new")]
            case _:
                return before


def _results(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.DictComp):
        yield node.key
        yield node.value
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        yield node.elt


# -- groups -----------------------------------------------------------------------------------------------


def _choice(label: str, arms: Sequence[Branch]) -> list[Node]:
    return [Group("choice", label, arms)] if any(arm.nodes for arm in arms) else []


def _loop(label: str, nodes: Sequence[Node]) -> list[Node]:
    return [Group("loop", clip(label), [Branch("", nodes)])] if nodes else []


def _frame(kind: str, label: str, nodes: Sequence[Node]) -> list[Node]:
    return [Group(kind, label, [Branch("", nodes)])] if nodes else []


def _together(nodes: Sequence[Node]) -> list[Node]:
    """What is started together; a lone part is drawn as it is, unless it is many."""
    if len(nodes) == 1 and not (isinstance(nodes[0], Group) and nodes[0].kind == "loop"):
        return list(nodes)
    return [Group("parallel", "at once", [Branch("", [node]) for node in nodes])] if nodes else []


def _without_returns(nodes: Sequence[Node]) -> list[Node]:
    """A helper's own nodes: its last return is where its caller goes on."""
    kept = list(nodes)
    if kept and kept[-1] == Operation("return", "return"):
        kept.pop()
    return kept


def _ends(nodes: Sequence[Node]) -> bool:
    """Whether nothing behind these is ever reached."""
    last = nodes[-1]
    if isinstance(last, Operation):
        return last.is_end
    if last.kind in ("choice", "try"):
        return all(branch.nodes and _ends(branch.nodes) for branch in last.branches)
    return False
