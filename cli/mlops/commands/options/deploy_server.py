"""`mlops deploy`: the server of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops.commands import completion

_SERVER = "Server"

Host = Annotated[
    str | None,
    typer.Option(help="Address to listen on.", show_default="127.0.0.1", rich_help_panel=_SERVER),
]

Port = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65_535,
        help="Port to listen on.",
        show_default="the first free from 8080",
        rich_help_panel=_SERVER,
    ),
]

GrpcPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        min=0,
        max=65_535,
        help="Port to listen on for gRPC (Open Inference, feedback).",
        show_default="no gRPC",
        rich_help_panel=_SERVER,
    ),
]

TlsCert = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Certificate of the server (PEM, with its chain), for HTTPS and gRPC.",
        show_default="no TLS",
        rich_help_panel=_SERVER,
    ),
]

TlsKey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Private key of the certificate (PEM).", rich_help_panel=_SERVER
    ),
]

TlsClientCa = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="CA certificates (PEM) that must have signed callers' certificates (mutual TLS).",
        rich_help_panel=_SERVER,
    ),
]

TlsClientCrl = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Revocation lists (PEM) of that CA, read again when they change.",
        rich_help_panel=_SERVER,
    ),
]

InsecureNoAuth = Annotated[
    bool,
    typer.Option(
        "--insecure-no-auth",
        help="Serve requests without a key also beyond this machine.",
        rich_help_panel=_SERVER,
    ),
]

NewKey = Annotated[
    bool,
    typer.Option(
        "--new-key",
        help="Start with a new key, or with the one in `.mlops/run` where the journal has another; "
        "feedback for earlier predictions is then refused.",
        rich_help_panel=_SERVER,
    ),
]

NewJournal = Annotated[
    bool,
    typer.Option(
        "--new-journal",
        help="Continue with an empty journal where the deployment's is lost.",
        rich_help_panel=_SERVER,
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Processes that share the requests.",
        show_default="1; on Kubernetes the pod's CPU limit",
        rich_help_panel=_SERVER,
    ),
]

Foreground = Annotated[
    bool,
    typer.Option("--foreground", help="Run in the foreground.", rich_help_panel=_SERVER),
]

Isolate = Annotated[
    str | None,
    typer.Option(
        metavar="auto|never|always",
        autocompletion=completion.one_of("auto", "never", "always"),
        help="Run models in an environment of their own, made with uv: those whose packages "
        "conflict with what is installed (auto).",
        show_default="auto",
        rich_help_panel=_SERVER,
    ),
]
