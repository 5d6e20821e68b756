"""The flags that commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="DURABLE_STORE",
        metavar="URL",
        help="Where runs are kept, like sqlite:///app.db. Default: the nearest parent directory's "
        ".durable/durable.db, else one in the working directory.",
        show_default=False,
    ),
]
Codecs = Annotated[
    str | None,
    typer.Option(
        "--codecs",
        envvar="DURABLE_CODECS",
        metavar="MODULE:NAME",
        help="A list of payload codecs (compression, encryption), the same as the workers'.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        envvar="DURABLE_ACTOR",
        metavar="NAME",
        help="In whose name; recorded with what is done. Default: the user of the process.",
        show_default=False,
    ),
]
RunId = Annotated[str, typer.Argument(metavar="ID", help="Workflow id of the run, or its run id.", show_default=False)]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="INPUT",
        help="The workflow's arguments: NAME=VALUE (repeatable), a JSON object of keywords, a JSON array of "
        "positional arguments, or @FILE with either. A later NAME=VALUE replaces a value of an object.",
        show_default=False,
    ),
]
Queue = Annotated[
    list[str] | None,
    typer.Option(
        "--queue", metavar="NAME", envvar="DURABLE_QUEUES", help="Serve this queue; repeatable.", show_default="default"
    ),
]
MaxConcurrentSteps = Annotated[
    int,
    typer.Option(
        "--max-concurrent-steps", envvar="DURABLE_MAX_CONCURRENT_STEPS", metavar="N", min=1, help="Steps at once."
    ),
]
Grace = Annotated[
    str,
    typer.Option(
        "--grace",
        envvar="DURABLE_GRACE",
        metavar="DURATION",
        help="How long steps may finish after Ctrl-C or SIGTERM; a second signal ends the process at once.",
    ),
]
LogLevel = Annotated[
    str, typer.Option("--log-level", envvar="DURABLE_LOG_LEVEL", metavar="LEVEL", help="Lowest level that is shown.")
]
LogFormat = Annotated[
    str,
    typer.Option(
        "--log-format",
        envvar="DURABLE_LOG_FORMAT",
        metavar="FORMAT",
        help="human, json, or auto: human on a terminal, JSON elsewhere.",
    ),
]

# -- filters ----------------------------------------------------------------------------------------------

Status = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Only runs of this status; repeatable.", show_default=False),
]
Workflow = Annotated[
    str | None, typer.Option("--workflow", metavar="NAME", help="Only runs of this workflow.", show_default=False)
]
Prefix = Annotated[
    str | None,
    typer.Option("--prefix", metavar="TEXT", help="Only runs whose workflow id begins so.", show_default=False),
]
Actor = Annotated[
    str | None,
    typer.Option("--actor", metavar="NAME", help="Only runs that this principal started.", show_default=False),
]
StartedAfter = Annotated[
    str | None,
    typer.Option(
        "--started-after",
        metavar="WHEN",
        help="Only runs started then or later: 2026-11-20, 2026-11-20T14:00, or 3d (three days ago).",
        show_default=False,
    ),
]
StartedBefore = Annotated[
    str | None,
    typer.Option("--started-before", metavar="WHEN", help="Only runs started before.", show_default=False),
]
Rollback = Annotated[
    str | None,
    typer.Option(
        "--rollback",
        metavar="STATUS",
        help="Only runs whose rollback stands so: none, running, completed or failed.",
        show_default=False,
    ),
]
Attribute = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="NAME=VALUE",
        help="Only runs with this searchable field; repeatable.",
        show_default=False,
    ),
]
