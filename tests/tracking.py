"""MLflow's own server as a process of the tests."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.servers import ServerProcess, unused_port


def mlflow_server(
    folder: Path, database: str, *options: str, environ: Mapping[str, str] | None = None
) -> ServerProcess:
    """Return an MLflow server that is not started yet.

    Args:
        folder: For its log and whatever it drops.
        database: SQLAlchemy URL of its backend store.
        options: Further words of `mlflow server`.
        environ: Variables it needs, for example to reach a store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = unused_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", database, "--workers", "1", *options),
    ]
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Eight more processes, each with its seconds of imports.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return ServerProcess(
        command, folder, f"http://127.0.0.1:{port}", "/health", {**quiet, **(environ or {})}
    )
