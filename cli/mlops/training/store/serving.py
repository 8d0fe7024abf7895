"""Whether a run needs the server, and the server as a process of this command."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.registry import open_registry
from mlops.registry.client import registry_uri
from mlops.resources import PACKAGES
from mlops.settings.private import private_opener

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings
    from mlops.training.environments import Environment

DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")
_START = (
    "import sys; sys.path.append(sys.argv.pop());"
    " from mlops.training.store.program import main; main()"
)
_LAST_WAIT_S = 10.0
_LOOPBACK = "127.0.0.1"


@contextmanager
def reach_store(
    settings: StoreSettings, environment: Environment, logs: Path, note: Callable[[str], None]
) -> Iterator[Mapping[str, str]]:
    """Give the variables by which scripts in an environment reach the store, if not directly.

    Args:
        settings: Where MLflow is.
        environment: Where the scripts run.
        logs: Folder of the server's log.
        note: Called to say that there is a server, and why.
    """
    uri = settings.tracking_uri
    ours = metadata.version("mlflow")
    if environment.mlflow == ours or not uri.startswith(DATABASES):
        yield {}
        return
    theirs = f"MLflow {environment.mlflow}" if environment.mlflow else "another MLflow"
    note(f"the environment has {theirs}, the store is of {ours}: the run logs over HTTP")
    # Its tables are made before another process opens it.
    open_registry(settings)
    with socket.create_server((_LOOPBACK, 0), backlog=128) as listening:
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(32)
        log = logs / f"store-{os.getpid()}.log"
        process = _start(settings, listening, token, log)
    try:
        yield _variables(settings, port, token)
    finally:
        _end(process)
        if not log.stat().st_size:
            log.unlink()


def _variables(settings: StoreSettings, port: int, token: str) -> dict[str, str]:
    registry = registry_uri(settings)
    own = registry.startswith(DATABASES)
    return {
        "MLFLOW_TRACKING_URI": f"http://{_LOOPBACK}:{port}",
        "MLFLOW_REGISTRY_URI": f"http://{_LOOPBACK}:{port}" if own else registry,
        # A name and password that are for another server would win over the token.
        "MLFLOW_TRACKING_USERNAME": "",
        "MLFLOW_TRACKING_PASSWORD": "",
        "MLFLOW_TRACKING_TOKEN": token,
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY", ""), _LOOPBACK])),
        "no_proxy": ",".join(filter(None, [os.environ.get("no_proxy", ""), _LOOPBACK])),
    }


def _start(
    settings: StoreSettings, listening: socket.socket, token: str, log: Path
) -> subprocess.Popen[str]:
    """Start the server on a socket that takes connections already, and keeps them until it is up.

    Addresses and the token go through a pipe, as every user can read a command line.
    """
    with open(log, "ab", opener=private_opener) as output:
        process = subprocess.Popen(
            # Deprecation warnings of MLflow's server are of no use to users.
            [sys.executable, "-P", "-W", "ignore", "-c", _START, str(PACKAGES)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[listening.fileno()],
            # Ctrl-C is for the script; the run is closed over HTTP after it.
            start_new_session=True,
            text=True,
        )
    order = {
        "socket": listening.fileno(),
        "token": token,
        "tracking": settings.tracking_uri,
        "registry": registry_uri(settings),
        "artifacts": str(settings.artifact_root),
        "folder": str(settings.project_dir),
    }
    assert process.stdin is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    return process


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    # It ends when the pipe is closed, so also when mlops is killed.
    process.stdin.close()
    try:
        process.wait(_LAST_WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
