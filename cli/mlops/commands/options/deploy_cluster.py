"""`mlops deploy`: rendering for a platform, and applying to a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.commands import completion

_CLUSTER = "Cluster"

Target = Annotated[
    str | None,
    typer.Option(
        metavar="TARGET",
        autocompletion=completion.targets,
        help="Where to run: local, kubernetes, kserve, seldon or seldon2. For a platform, "
        "manifests are written; --apply applies them.",
        rich_help_panel=_CLUSTER,
    ),
]

Render = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|-",
        help="Folder for the manifests; - prints them.",
        show_default="deploy/NAME",
        rich_help_panel=_CLUSTER,
    ),
]

Namespace = Annotated[
    str | None,
    typer.Option("-n", "--namespace", help="Namespace of the objects.", rich_help_panel=_CLUSTER),
]

Image = Annotated[
    str | None,
    typer.Option(
        help="Image of the model server.",
        show_default="the bundled server",
        rich_help_panel=_CLUSTER,
    ),
]

ModelServer = Annotated[
    str | None,
    typer.Option(
        metavar="mlops|mlserver|prepackaged",
        help="Server that loads the models.",
        rich_help_panel=_CLUSTER,
    ),
]

PlatformVersion = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION",
        help="Version of KServe or Seldon Core in the cluster.",
        rich_help_panel=_CLUSTER,
    ),
]

Mode = Annotated[
    str | None,
    typer.Option(
        help="Mode of the platform: plain or openshift (kubernetes), standard or knative "
        "(kserve), istio or ambassador (seldon).",
        rich_help_panel=_CLUSTER,
    ),
]

TrafficBy = Annotated[
    str | None,
    typer.Option(
        metavar="METHOD",
        help="What splits the traffic: graph, canary or gateway on KServe; graph or predictors "
        "on Seldon.",
        rich_help_panel=_CLUSTER,
    ),
]

Extra = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="monitoring|rollouts",
        help="Also write alerts for Prometheus and a dashboard for Grafana, or templates by which "
        "Argo Rollouts and Flagger read the verdict; repeatable.",
        rich_help_panel=_CLUSTER,
    ),
]

Router = Annotated[
    bool,
    typer.Option(
        "--router",
        help="Put the bundled server in front of the platform's, for journal and reports.",
        rich_help_panel=_CLUSTER,
    ),
]

Apply = Annotated[
    bool,
    typer.Option(
        "--apply",
        help="Apply the manifests to the cluster and wait until they are ready.",
        rich_help_panel=_CLUSTER,
    ),
]

Timeout = Annotated[
    int | None,
    typer.Option(
        metavar="SECONDS",
        min=1,
        help="With --apply: time to wait.",
        show_default="600",
        rich_help_panel=_CLUSTER,
    ),
]

NoWait = Annotated[
    bool,
    typer.Option("--no-wait", help="With --apply: do not wait.", rich_help_panel=_CLUSTER),
]

ForceConflicts = Annotated[
    bool,
    typer.Option(
        "--force-conflicts",
        help="Take over a name that another project deployed; with --apply also fields that "
        "other managers set.",
        rich_help_panel=_CLUSTER,
    ),
]
