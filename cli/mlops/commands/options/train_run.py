"""`mlops train`: what is run, and where."""

from __future__ import annotations

from typing import Annotated

import typer

_REMOTE_PANEL = "Kubernetes and Databricks"

Project = Annotated[
    str,
    typer.Argument(help="Folder with an MLproject, or a git URI, optionally with #SUBFOLDER."),
]

Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "-P",
        "--param",
        metavar="NAME=VALUE",
        help="Parameter of the entry point, or @FILE; repeatable. Several numbers or choices "
        "(`0.1,0.5`, `lin:0..1:5`, `log:0.001..10:8`) are a sweep.",
    ),
]

FromRun = Annotated[
    str,
    typer.Option(
        metavar="RUN_ID",
        show_default=False,
        help="Repeat a run: its code version and its parameters, except those of `-P`.",
    ),
]

EntryPoint = Annotated[
    str, typer.Option("-e", "--entry", help="Entry point, or a script in the project.")
]

Experiment = Annotated[
    str,
    typer.Option(help="MLflow experiment.", show_default="the project's name"),
]

EnvManager = Annotated[
    str,
    typer.Option(
        metavar="auto|local|uv|virtualenv|conda",
        help="Environment of the run.",
        show_default="auto",
    ),
]

Backend = Annotated[
    str | None,
    typer.Option(
        metavar="local|ray|kubernetes|databricks",
        help="Where runs execute; kubernetes only writes manifests.",
        show_default="local",
    ),
]

RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Ray cluster, for example ray://head:10001.",
        show_default="one on this machine",
    ),
]

RequireClean = Annotated[
    bool,
    typer.Option("--require-clean", help="Refuse tracked files that differ from the git commit."),
]

RefuseUntracked = Annotated[
    bool,
    typer.Option(
        "--refuse-untracked",
        help="As --require-clean, and refuse files that git does not track, too.",
    ),
]

Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="Tag of every run; repeatable."),
]

Render = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|-",
        show_default="train/NAME",
        rich_help_panel=_REMOTE_PANEL,
        help="Where `--backend kubernetes` writes; - is standard output.",
    ),
]

Image = Annotated[
    str | None,
    typer.Option(
        show_default=False,
        rich_help_panel=_REMOTE_PANEL,
        help="Image with the project, its packages and mlops.",
    ),
]

Namespace = Annotated[
    str | None,
    typer.Option(
        "-n",
        "--namespace",
        show_default="kubectl's",
        rich_help_panel=_REMOTE_PANEL,
        help="Namespace of the Job.",
    ),
]

BackendConfig = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        show_default=False,
        rich_help_panel=_REMOTE_PANEL,
        help="JSON file with the cluster that `--backend databricks` starts.",
    ),
]

Follow = Annotated[
    bool,
    typer.Option(
        "--follow",
        rich_help_panel="Output",
        help="Show everything the script prints, as it prints it; not of sweeps.",
    ),
]
