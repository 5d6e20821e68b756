"""The files of a program as modules that import each other.

An import is followed where its file is found: relative to the importing module, in the directory that its package
lies in, in the directories above up to the project's, and in those of the other files under check. The standard
library, installed packages and ``durable`` itself are not followed: what is known of them is in the table of rules.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Final

from durable.errors import ConfigurationError
from durable.lint.disk import Files
from durable.lint.finding import Finding
from durable.lint.module import Module
from durable.lint.scope import Binding
from durable.lint.source import parse

_OPAQUE: Final = sys.stdlib_module_names | {"durable", "runtime"}
_BOUNDARIES: Final = ("pyproject.toml", "setup.py", "setup.cfg")
_HIGHEST: Final = 12
"""So many directories above a package are looked into, where nothing marks the project's own."""


class Project:
    """The modules of a program, each read once.

    Attributes:
        files: where sources come from.
        broken: findings about files that cannot be parsed, by path.
        given: the files under check.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.broken: dict[PurePath, Finding] = {}
        self.given: dict[PurePath, None] = {}
        self._modules: dict[PurePath, Module | None] = {}
        self._found: dict[tuple[PurePath, str], Module | None] = {}
        self._has: dict[PurePath, bool] = {}
        self._roots: dict[PurePath, tuple[PurePath, ...]] = {}
        self._given_roots: dict[PurePath, None] = {}
        self._concerned: dict[PurePath, bool] = {}

    def add(self, paths: Iterable[PurePath]) -> None:
        """Take files under check.

        Raises:
            ConfigurationError: one cannot be read.
        """
        for path in paths:
            self.given[path] = None
            self._load(path)
        for path in self.given:
            self._given_roots[self._roots_of(path.parent)[0]] = None

    def modules(self) -> list[Module]:
        """Every module that was read, the ones under check first."""
        return [module for module in self._modules.values() if module is not None]

    def under_check(self) -> list[Module]:
        """The modules under check."""
        return [module for path in self.given if (module := self._modules.get(path)) is not None]

    def find(self, importer: Module, dotted: str, level: int = 0) -> Module | None:
        """The module that an import in ``importer`` means, if it is one of the program's.

        Args:
            dotted: its name, ``shop.pricing``.
            level: how many dots are before it.
        """
        folder = importer.path.parent
        parts = dotted.split(".") if dotted else []
        if level:
            for _ in range(level - 1):
                folder = folder.parent
            return self._in(folder, parts)
        if not parts or parts[0] in _OPAQUE:
            return None
        key = (folder, dotted)
        if key not in self._found:
            roots = dict.fromkeys((*self._roots_of(folder), *self._given_roots))
            self._found[key] = next((module for root in roots if (module := self._in(root, parts)) is not None), None)
        return self._found[key]

    def concerns_workflows(self, module: Module) -> bool:
        """Whether a module can name anything of ``durable``: by itself, or through modules that it imports."""
        seen: dict[PurePath, None] = {}
        waiting = [module]
        while waiting:
            reached = waiting.pop()
            known = self._concerned.get(reached.path)
            if known is None and "durable" in reached.source.text:
                known = self._concerned[reached.path] = True
            if known:
                self._concerned[module.path] = True
                return True
            if known is None and reached.path not in seen:
                seen[reached.path] = None
                waiting.extend(self._imported(reached))
        self._concerned.update(dict.fromkeys(seen, False))
        return False

    def _imported(self, module: Module) -> Iterator[Module]:
        bindings: list[Binding] = [item for items in module.scope.bindings.values() for item in items]
        for binding in (*bindings, *module.scope.stars):
            if binding.module or binding.level:
                found = self.find(module, binding.module, binding.level)
                if found is not None:
                    yield found

    def _in(self, folder: PurePath, parts: list[str]) -> Module | None:
        base = folder.joinpath(*parts)
        candidates = [base / "__init__.py"]
        if parts:
            candidates.insert(0, base.with_name(f"{base.name}.py"))
        return next((module for path in candidates if (module := self._load(path)) is not None), None)

    def _load(self, path: PurePath) -> Module | None:
        if path not in self._modules:
            self._modules[path] = self._read(path)
        return self._modules[path]

    def _read(self, path: PurePath) -> Module | None:
        if path not in self.given and not self._exists(path):
            return None
        try:
            content = self.files.read(path)
        except ConfigurationError:
            if path in self.given:
                raise
            return None
        parsed = parse(path, self.files.shown(path), content)
        if isinstance(parsed, Finding):
            self.broken[path] = parsed
            return None
        return Module(parsed)

    def _exists(self, path: PurePath) -> bool:
        if path not in self._has:
            self._has[path] = self.files.has(path)
        return self._has[path]

    def _roots_of(self, folder: PurePath) -> tuple[PurePath, ...]:
        """Where absolute imports of a file in ``folder`` are looked for."""
        known = self._roots.get(folder)
        if known is not None:
            return known
        root = folder
        while self._exists(root / "__init__.py") and root != root.parent:
            root = root.parent
        roots = [root]
        while len(roots) < _HIGHEST and roots[-1] != roots[-1].parent:
            if any(self._exists(roots[-1] / name) for name in _BOUNDARIES):
                break
            roots.append(roots[-1].parent)
        found = self._roots[folder] = tuple(roots)
        return found
