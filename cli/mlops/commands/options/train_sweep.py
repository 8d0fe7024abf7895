"""`mlops train`: a sweep of several runs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

_SWEEP = "Sweep"

Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        metavar="NAME=A,B",
        rich_help_panel=_SWEEP,
        help="Several values of a parameter of any type; repeatable.",
    ),
]

Sampler = Annotated[
    Literal["grid", "random", "tpe"] | None,
    typer.Option(
        "--sweep",
        show_default=False,
        rich_help_panel=_SWEEP,
        help="How points are chosen; several values of a parameter make a grid.",
    ),
]

Trials = Annotated[
    int | None,
    typer.Option(
        "--trials",
        min=1,
        show_default="20",
        rich_help_panel=_SWEEP,
        help="Number of trials of a sampler.",
    ),
]

Minimize = Annotated[
    str,
    typer.Option(
        metavar="METRIC", show_default=False, rich_help_panel=_SWEEP, help="Metric to minimise."
    ),
]

Maximize = Annotated[
    str,
    typer.Option(
        metavar="METRIC", show_default=False, rich_help_panel=_SWEEP, help="Metric to maximise."
    ),
]

Jobs = Annotated[
    int,
    typer.Option(
        "-j", "--jobs", min=1, rich_help_panel=_SWEEP, help="Number of trials that run at a time."
    ),
]

Seed = Annotated[
    int | None,
    typer.Option(
        min=0,
        show_default=False,
        rich_help_panel=_SWEEP,
        help="Seed of the sampler, to repeat the same trials.",
    ),
]

Prune = Annotated[
    bool | None,
    typer.Option(
        "--prune/--no-prune",
        show_default=False,
        rich_help_panel=_SWEEP,
        help="Stop trials whose metric is worse than the median at the same step. By default "
        "on for a sampler, off for a grid.",
    ),
]

Resume = Annotated[
    str,
    typer.Option(
        metavar="[RUN_ID]",
        show_default=False,
        rich_help_panel=_SWEEP,
        help="Resume a sweep that was stopped; the newest if no run is named.",
    ),
]

Best = Annotated[
    bool,
    typer.Option("--best", rich_help_panel=_SWEEP, help="Register the best trial only."),
]

Html = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        show_default=False,
        rich_help_panel=_SWEEP,
        help="Write the sweep as a page with charts.",
    ),
]
