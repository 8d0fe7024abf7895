"""`mlops train`: what becomes of the model in the registry."""

from __future__ import annotations

from typing import Annotated

import typer

_REGISTRY = "Registry"

Register = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Registered model to make a version of.",
        show_default="the project's name",
        rich_help_panel=_REGISTRY,
    ),
]

NoRegister = Annotated[
    bool,
    typer.Option("--no-register", help="Register nothing.", rich_help_panel=_REGISTRY),
]

Model = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Which model to register, if the run logs several.",
        show_default=False,
        rich_help_panel=_REGISTRY,
    ),
]

Alias = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Alias for the new version.",
        show_default=False,
        rich_help_panel=_REGISTRY,
    ),
]
