"""Writes docs/check.md from the codes of ``durable.lint``; a test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from durable.lint import CODES, Code
from durable.lint.code import GROUPS

PAGE = Path(__file__).with_name("check.md")

INTRODUCTION = """\
# The linter

`durable check` reads the source of workflows and says where it would not be deterministic, before anything runs. It knows the
[table of forbidden calls](determinism.md#what-is-forbidden) that the guard has, and finds much that the guard cannot see. Nothing of the
program is imported or executed, so it needs neither its dependencies nor a store.

```console
$ durable check src
src/shop/deploy.py:42:15: DURL101 time.time() is called in workflow 'deploy': its result would differ on replay; use ctx.now()
src/shop/pricing.py:9:12: DURL102 uuid.uuid4() is called in quote, reached from workflow 'order': its result would differ on replay; use ctx.uuid4()
2 findings in 31 files with 4 workflows
```

The exit code is 0 if nothing was found, 1 if something was, 2 if a path cannot be read or an option is wrong. A file that cannot be parsed is
a finding. `--json` prints a list of findings, `--format sarif` SARIF 2.1.0 for code hosts and editors; both with the columns, the workflow
and the functions through which it reaches the place (`via`). Sources are read with the grammar of the Python that runs the command.

From Python:

    from durable.lint import check_paths

    report = check_paths(["src"])
    assert report.ok, "\\n".join(map(str, report.findings))

## What it looks at

Workflow functions, however they are declared (`@workflow`, with options, under another name, `workflow(fn)`), functions that take
a `Context`, and whatever these reach in the program: functions, methods, properties, constructors and factories of defaults, context managers,
handlers, wrappers of decorators, callbacks, in the same module and in others. Imports are followed through aliases, relative imports and
re-exports, to files beside the importing one, in its package, in directories above it up to the project's, and beside the other files
that are checked. Code in such files is reported even if only the workflow's file was named.

Steps are left out: functions with `@step`, and what is handed to `ctx.step(...)`, `step(...)`, `compensate=` or `ctx.compensate(...)`. A plain function
that is handed to a step in one place and called by a workflow in another is looked at. A `with ctx.unguarded():` block is left alone, apart
from the checks of group 2 and 5.

## To ignore a finding

A comment on the first or last line of the place, with codes and preferably a reason:

    started = time.time()  # durable: ignore[DURL101] - a label, never compared
    both = time.time(), uuid.uuid4()  # durable: ignore[DURL101, DURL102]

Without codes, `# durable: ignore` ignores everything on that line. An ignore that ignores nothing is itself a finding, DURL902.

`--select` and `--ignore` choose codes for a whole check, by code or by how codes begin (`DURL3`). In `pyproject.toml`:

    [tool.durable]
    check_ignore = ["DURL109"]

## As a pre-commit hook

The repository of durable defines the hook `durable-check`:

    repos:
      - repo: https://example.org/durable  # where you have durable from
        rev: v0.1.0
        hooks:
          - id: durable-check
            args: [src]

With the durable that is installed in the environment:

    repos:
      - repo: local
        hooks:
          - id: durable-check
            name: durable check
            entry: durable check src
            language: system
            types: [python]
            pass_filenames: false

The hook checks the whole of its `args` (the working directory by default) whenever a Python file changes, because a workflow may reach the changed
code from a file that did not change. Two hundred files take a second or two.

In other continuous integration, run `durable check src`; where the host takes SARIF, `durable check src --format sarif > durable.sarif`.

## What it cannot see

It reads names, imports and annotations, and where these say nothing it is silent:

- **Values without a type.** `order.total()` is followed if `order` is annotated, made in sight, or the result of an annotated function or step.
  An argument without annotation, an element of an untyped container or what `getattr` finds by a computed name is not.
- **Installed packages.** Their code is not read, and of their callables only those in the table are known.
- **Order.** Names have no history: a name that is ever bound to `time.time` in its scope counts as that everywhere in it.
- **Code that is made at run time**: `exec`, `eval`, monkey patching, plug-ins.
- **Specs in YAML.**

The guard and replay see what really happens, and remain the last word.

## Codes

Examples begin with `from durable import Context, step, workflow`.
"""


def render() -> str:
    """The page's text."""
    lines = [INTRODUCTION]
    lines += ["| code | finds | instead |", "|---|---|---|"]
    lines += [f"| [{item.code}](#{item.code.lower()}) | {item.title} | {item.remedy} |" for item in CODES.values()]
    lines.append("")
    for digit, title in GROUPS.items():
        lines += [f"## {digit}: {title}", ""]
        for item in CODES.values():
            if item.code[4] == digit:
                lines += _section(item)
    return "\n".join(lines)


def _section(item: Code) -> Iterator[str]:
    yield from (f"### {item.code}", "", f"**{item.title[0].upper()}{item.title[1:]}.** {item.why}", "")
    yield from ("```python", item.bad.rstrip(), "```", "", f"Instead, {item.remedy}:", "")
    yield from ("```python", item.good.rstrip(), "```", "")


if __name__ == "__main__":
    PAGE.write_text(render())
