"""Options that several commands share, declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands import completion

if TYPE_CHECKING:
    from mlops.client.remote_endpoint import RemoteServer

#: The deployment a command is about.
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="Deployment; may be left out where there is one.",
        show_default=False,
        autocompletion=completion.deployments,
    ),
]

#: Say what would be done.
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, do nothing.")]

#: Skip checks of servers and stores before the work.
NoPreflight = Annotated[
    bool, typer.Option("--no-preflight", help="Skip the checks of server and store.")
]

#: Whether models that were trained elsewhere may be loaded.
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Load models that were trained elsewhere: loading one runs the code in it. Remembered "
        "of their files.",
    ),
]

#: How long a command waits for a cluster.
ClusterTimeout = Annotated[
    int | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=1,
        help="Time to wait until it is ready.",
        rich_help_panel="Cluster",
        show_default="600",
    ),
]

#: Options by which a command finds a cluster, named as kubectl names them.
Kubeconfig = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Kubeconfig.",
        rich_help_panel="Cluster",
        show_default="KUBECONFIG, else ~/.kube/config",
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        help="Context of the kubeconfig.",
        rich_help_panel="Cluster",
        show_default="the current one",
    ),
]

_REMOTE_PANEL = "Remote deployment"

#: Where a deployment is that this machine does not run.
Url = Annotated[
    str,
    typer.Option(
        help="URL of the deployment, including the path of a gateway.",
        show_default=False,
        rich_help_panel=_REMOTE_PANEL,
    ),
]

Protocol = Annotated[
    str,
    typer.Option(
        autocompletion=completion.one_of("auto", "mlops", "seldon", "v2", "kserve", "mlflow"),
        help="Protocol: mlops, seldon, v2, kserve or mlflow; auto detects it.",
        rich_help_panel=_REMOTE_PANEL,
    ),
]

Token = Annotated[
    str,
    typer.Option(
        metavar="env:VARIABLE|file:PATH",
        help="Source of the bearer token.",
        show_default=False,
        rich_help_panel=_REMOTE_PANEL,
    ),
]

Header = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Header to send; a secret as NAME=env:VARIABLE or NAME=file:PATH. Repeatable.",
        rich_help_panel=_REMOTE_PANEL,
    ),
]

CaFile = Annotated[
    str,
    typer.Option(
        "--ca-file",
        "--ca",
        metavar="FILE",
        help="CA certificates to verify the server with.",
        show_default=False,
        rich_help_panel=_REMOTE_PANEL,
    ),
]

ClientCert = Annotated[
    str,
    typer.Option(
        metavar="FILE[,KEY]",
        help="Certificate (PEM) to show the server, with its key in the same file or another.",
        show_default=False,
        rich_help_panel=_REMOTE_PANEL,
    ),
]

Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Skip TLS certificate verification.", rich_help_panel=_REMOTE_PANEL
    ),
]

Timeout = Annotated[
    float,
    typer.Option(
        min=0.1, metavar="SECONDS", help="Request timeout.", rich_help_panel=_REMOTE_PANEL
    ),
]


def remote_server(
    name: str | None,
    url: str,
    protocol: str,
    token: str,
    header: list[str] | None,
    ca_file: str,
    insecure: bool,
    timeout: float,
    client_cert: str = "",
) -> RemoteServer | None:
    """Make a record of these options, None where they name no URL.

    Raises:
        UsageError: They would be ignored, or there are two deployments.
    """
    from mlops.client.remote_endpoint import RemoteServer
    from mlops.errors import UsageError

    if url and name:
        raise UsageError(
            f"`{name}` is a deployment here, `--url` names a remote one.", hint="Say one of them."
        )
    if url:
        headers = tuple(header or ())
        return RemoteServer(url, protocol, token, headers, ca_file, insecure, timeout, client_cert)
    said = {"--protocol": protocol != "auto", "--token": token, "--header": header}
    said |= {"--ca-file": ca_file, "--insecure": insecure, "--client-cert": client_cert}
    unheard = [option for option, value in said.items() if value]
    if unheard:
        raise UsageError(
            f"`{unheard[0]}` is for a remote deployment, and none is named.", hint="`--url URL`"
        )
    return None


def its_server(
    url: str,
    token: str,
    header: list[str] | None,
    ca_file: str,
    insecure: bool,
    timeout: float = 60.0,
    client_cert: str = "",
) -> RemoteServer | None:
    """Make a record of the options about a deployment's own server, None without a URL.

    Raises:
        UsageError: They would be ignored.
    """
    protocol = "mlops" if url else "auto"
    return remote_server(
        None, url, protocol, token, header, ca_file, insecure, timeout, client_cert
    )


def flags_of(
    kubeconfig: str | None, context: str | None, timeout: int | None = None
) -> dict[str, object]:
    """Return the settings that the options about a cluster set."""
    return {
        "cluster.kubeconfig": kubeconfig,
        "cluster.context": context,
        "cluster.timeout_s": timeout,
    }
