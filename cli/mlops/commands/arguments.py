"""Options that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

#: The deployment a command is about.
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="Deployment; may be left out where there is one.", show_default=False
    ),
]

#: Say what would be done.
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")]

#: Do not look at servers and stores before the work.
NoPreflight = Annotated[
    bool, typer.Option("--no-preflight", help="Skip the checks of server and store.")
]
