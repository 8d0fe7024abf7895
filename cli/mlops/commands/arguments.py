"""Options that several commands share, declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, cast

import typer

from mlops.commands import completion

if TYPE_CHECKING:
    from mlops.client.remote_endpoint import RemoteServer

_Command = TypeVar("_Command", bound=Callable[..., None])
#: The server of a remote deployment, of a command that `takes_remote`.
Remote: TypeAlias = "RemoteServer | None"

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
        "--timeout",
        min=0.1,
        metavar="SECONDS",
        help="Request timeout.",
        rich_help_panel=_REMOTE_PANEL,
    ),
]


_OPTIONS = {
    "url": (Url, ""),
    "protocol": (Protocol, "auto"),
    "token": (Token, ""),
    "header": (Header, None),
    "ca_file": (CaFile, ""),
    "client_cert": (ClientCert, ""),
    "insecure": (Insecure, False),
    "timeout_s": (Timeout, 60.0),
}


def takes_remote(*without: str, foreign: bool = False) -> Callable[[_Command], _Command]:
    """Give a command the options about a remote deployment, in the place of its parameter `remote`.

    Args:
        without: Options that it does not have.
        foreign: Whether the deployment may speak other protocols than ours. Then a name, which is
            one of this machine, and a URL exclude each other.
    """
    left_out = {*without} if foreign else {*without, "protocol"}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in _OPTIONS.items()
        if name not in left_out
    ]

    def decorate(command: _Command) -> _Command:
        parameters: list[inspect.Parameter] = []
        for each in inspect.signature(command, eval_str=True).parameters.values():
            kept = each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += options if each.name == "remote" else [kept]

        @functools.wraps(command)
        def call(**given: object) -> None:
            server = {option.name: given.pop(option.name) for option in options}
            name = given.get("name") if foreign else None
            command(**given, remote=_remote_server(name, server))

        vars(call)["__signature__"] = inspect.Signature(parameters)
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        return cast("_Command", call)

    return decorate


def _remote_server(name: object, server: dict[str, Any]) -> RemoteServer | None:
    """Make a record of these options, None where they name no URL.

    Raises:
        UsageError: They would be ignored, or there are two deployments.
    """
    from mlops.client.remote_endpoint import RemoteServer
    from mlops.errors import UsageError

    if server["url"] and name:
        raise UsageError(
            f"`{name}` is a deployment here, `--url` names a remote one.", hint="Say one of them."
        )
    headers = tuple(server.pop("header") or ())
    if server["url"]:
        return RemoteServer(**{"protocol": "mlops", "headers": headers, **server})
    said = {"header": headers or None, **server, "timeout_s": _OPTIONS["timeout_s"][1]}
    for option, (_, default) in _OPTIONS.items():
        if said.get(option, default) != default:
            raise UsageError(
                f"`--{option.replace('_', '-')}` is for a remote deployment, and none is named.",
                hint="`--url URL`",
            )
    return None


def flags_of(
    kubeconfig: str | None, context: str | None, timeout: int | None = None
) -> dict[str, object]:
    """Return the settings that the options about a cluster set."""
    return {
        "cluster.kubeconfig": kubeconfig,
        "cluster.context": context,
        "cluster.timeout_s": timeout,
    }
