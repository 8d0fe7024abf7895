"""What a server that runs cannot change: its address, its access, its workers."""

from __future__ import annotations

from mlops.errors import ConflictError
from mlops.settings.needs import DeploymentSettings
from mlops.spec.server import ServerState


def check_same_address(settings: DeploymentSettings, state: ServerState | None) -> None:
    """Refuse to move a server that runs: its URL is the one thing that stays.

    Raises:
        ConflictError: The command line differs from what it was started with.
    """
    if state is None:
        return
    for key, wanted, has in (
        ("deploy.host", settings.deploy.host, state.launch.host),
        ("deploy.port", settings.deploy.port, state.launch.port),
    ):
        if settings.origins[key] == "command line" and wanted and wanted != has:
            raise ConflictError(
                f"`{state.launch.name}` runs at {state.url} and cannot move to `{wanted}`.",
                hint=f"`mlops stop {state.launch.name}` first.",
            )
    wanted = settings.deploy.grpc_port
    if settings.origins["deploy.grpc_port"] == "command line" and wanted != state.launch.grpc_port:
        now = f"on port {state.launch.grpc_port}" if state.grpc else "nowhere"
        raise ConflictError(
            f"`{state.launch.name}` runs and listens for gRPC {now}, which only a start changes.",
            hint=f"`mlops stop {state.launch.name}` first.",
        )
    _same_doors(settings, state)
    workers, own = settings.deploy.workers, state.launch.workers
    if settings.origins["deploy.workers"] == "command line" and workers != own:
        raise ConflictError(
            f"`{state.launch.name}` runs with {own} worker{'s' * (own > 1)}; their number "
            "is fixed when it starts.",
            hint=f"`mlops stop {state.launch.name}` first, or leave `--workers` out.",
        )


def _same_doors(settings: DeploymentSettings, state: ServerState) -> None:
    """Refuse to change the access to a server that runs."""
    own, tls = settings.deploy, state.launch.tls
    for key, wanted, has in (
        ("tls_cert", own.tls_cert, tls.cert if tls else ""),
        ("tls_key", own.tls_key, tls.key if tls else ""),
        ("tls_client_ca", own.tls_client_ca, tls.client_ca if tls else ""),
        ("tls_client_crl", own.tls_client_crl, tls.client_crl if tls else ""),
        ("insecure_no_auth", own.insecure_no_auth, state.launch.access.unprotected),
    ):
        told = settings.origins[f"deploy.{key}"] == "command line"
        if told and wanted != has:
            raise ConflictError(
                f"`{state.launch.name}` runs; `--{key.replace('_', '-')}` changes it only when it "
                "starts.",
                hint=f"`mlops stop {state.launch.name}` first. New certificates in the same files "
                "need no start.",
            )
