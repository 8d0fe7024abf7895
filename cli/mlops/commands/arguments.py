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

#: Options by which a command finds a cluster, named as kubectl names them.
Kubeconfig = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Kubeconfig; KUBECONFIG, else ~/.kube/config.",
        rich_help_panel="Cluster",
        show_default=False,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        help="Context of the kubeconfig; its current one.",
        rich_help_panel="Cluster",
        show_default=False,
    ),
]
