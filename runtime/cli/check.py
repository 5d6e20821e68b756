"""``durable check``: the linter of ``durable.lint`` on files, and its findings as text, JSON or SARIF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.exitcode import ExitCode
from runtime.cli.options import Json

if TYPE_CHECKING:
    from durable.lint import Report
    from runtime.cli.output import Output


def check(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Python files, and directories to search for them.", show_default=False),
    ],
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select",
            envvar="DURABLE_CHECK_SELECT",
            metavar="CODE",
            help="Only these codes, or all that begin so (DURL3); repeatable, or separated by commas.",
            show_default="all",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore",
            envvar="DURABLE_CHECK_IGNORE",
            metavar="CODE",
            help="Not these codes; repeatable, or separated by commas.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="text, json (a list of findings) or sarif (SARIF 2.1.0).")
    ] = "text",
    as_json: Json = False,
) -> int:
    """Find nondeterminism in workflow code without running it.

    Workflow functions and all that they reach in the program are read; steps are left out. The codes, each with an
    example, are in docs/check.md; `# durable: ignore[CODE]` at the end of a line ignores a finding there. The exit code is 1 if
    anything was found.
    """
    import gc

    from durable.errors import ConfigurationError
    from durable.lint import check_paths
    from runtime.cli.output import Output

    if form not in ("text", "json", "sarif"):
        raise ConfigurationError(f"expected --format to be text, json or sarif, got {form!r}")
    if as_json and form == "sarif":
        raise ConfigurationError("--json and --format sarif exclude each other")
    output = Output(as_json=as_json or form != "text")
    gc.disable()  # syntax trees are many small objects, and all of them are needed until the end
    try:
        report = check_paths(paths, select=_codes(select), ignore=_codes(ignore))
    finally:
        gc.enable()
    if form == "sarif":
        from durable import __version__
        from durable.lint import to_sarif

        output.data(to_sarif(report, __version__))
    elif output.as_json:
        output.data([finding.to_json() for finding in report.findings])
    else:
        _show(report, output)
    return ExitCode.OK if report.ok else ExitCode.FAILED


def _codes(given: list[str] | None) -> list[str]:
    return [code.strip() for text in given or () for code in text.split(",") if code.strip()]


def _show(report: Report, output: Output) -> None:
    from runtime.cli.output import count

    for finding in report.findings:
        place = f"{finding.path}:{finding.line}:{finding.column}"
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        output.line((place, "strong"), ": ", (finding.code, "failed"), f" {finding.message}{remedy}")
    found = count(len(report.findings), "finding") if report.findings else "nothing found"
    output.note(f"{found} in {count(report.files, 'file')} with {count(report.workflows, 'workflow')}")
