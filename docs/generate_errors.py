"""Writes docs/errors.md from the classes of ``durable.errors``; a test compares the two."""

from __future__ import annotations

import inspect
from pathlib import Path

from durable import errors

PAGE = Path(__file__).with_name("errors.md")

_GROUPS = {
    "1": "The author: the code must change",
    "2": "The operator: the store, the host or the configuration must change",
    "3": "The caller: the call must change",
    "4": "Outcomes: something durable ended badly; workflow code may catch it",
    "5": "Ours: please report it",
}


def render() -> str:
    """The page's text."""
    classes = {
        cls.code: cls
        for _, cls in sorted(inspect.getmembers(errors, inspect.isclass))
        if issubclass(cls, BaseException) and "code" in vars(cls)
    }
    lines = [
        "# Errors by code",
        "",
        "Every error of the project carries a stable code, shown in brackets before its message. The first digit says who must act.",
        "",
    ]
    for digit, title in _GROUPS.items():
        lines += [f"## {digit}: {title}", "", "| code | class | meaning |", "|---|---|---|"]
        for code in sorted(code for code in classes if code[3] == digit):
            cls = classes[code]
            meaning = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
            lines.append(f"| {code} | `{cls.__name__}` | {meaning} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(render())
