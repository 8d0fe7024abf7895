"""`mlops ui`: MLflow's own pages on the project's store, and those of what is deployed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlops.deployment.runtime_files import is_alive, known_names, places, read_server_state
from mlops.errors import ConflictError, MlopsError, NotFoundError
from mlops.registry.client import nothing_yet, script_environment
from mlops.registry.tracking_probe import ask_tracking, is_server
from mlops.settings import Settings
from mlops.training.interrupts import signals_interrupt

_HOST = "127.0.0.1"
_FIRST_PORT = 5000
_PORTS = 100
_START_S = 120.0
_END_S = 5.0


@dataclass(frozen=True, slots=True)
class Pages:
    """Where to look.

    Attributes:
        url: MLflow's own pages.
        deployments: Name of each deployment that runs here to the URL of its server, which has
            `/report` and `/docs`.
    """

    url: str
    deployments: dict[str, str]


class MlflowUi:
    """MLflow's pages, served until `wait` is interrupted.

    Attributes:
        pages: Where they are.
    """

    def __init__(self, pages: Pages, server: subprocess.Popen[bytes] | None, log: Path) -> None:
        self.pages = pages
        self._server = server
        self._log = log

    @property
    def is_ours(self) -> bool:
        """Whether this process serves them, and has to keep running."""
        return self._server is not None

    def wait(self) -> None:
        """Run until Ctrl-C, or until the server ends.

        Raises:
            MlopsError: The server ended unexpectedly.
        """
        if self._server is None:
            return
        with contextlib.suppress(KeyboardInterrupt):
            self._server.wait()
            raise _ended(self._log)


@contextmanager
def mlflow_ui(settings: Settings, port: int | None = None) -> Iterator[MlflowUi]:
    """Serve MLflow's pages on the project's store while the block runs.

    If runs are kept by a server, it serves the pages, and nothing is started.

    Args:
        settings: Where MLflow is.
        port: Port to listen on; by default the first free one from 5000.

    Raises:
        NotFoundError: The store is not there yet.
        ConflictError: The port is taken.
        MlopsError: The server did not start.
    """
    log = settings.home / "logs" / "mlflow-ui.log"
    deployments = _deployments(settings)
    if is_server(settings):
        yield MlflowUi(Pages(ask_tracking(settings).uri, deployments), None, log)
        return
    if nothing_yet(settings):
        raise NotFoundError(
            f"Nothing is tracked in `{settings.project_dir}` yet.", hint="`mlops train`"
        )
    port = _checked(port) if port else _free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    with signals_interrupt(), log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "mlflow", "server", "--host", _HOST, "--port", str(port),
             "--workers", "1"],
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its processes are ended as one, and not by a Ctrl-C that is meant for mlops.
            start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://{_HOST}:{port}"
            _wait_for(url, server, log)
            yield MlflowUi(Pages(url, deployments), server, log)
        finally:
            _end(server)


def _environment(settings: Settings) -> dict[str, str]:
    """Pass the store in the environment: a command line is visible to every user."""
    found = script_environment(settings)
    found["MLFLOW_BACKEND_STORE_URI"] = found.pop("MLFLOW_TRACKING_URI")
    found["MLFLOW_REGISTRY_STORE_URI"] = found.pop("MLFLOW_REGISTRY_URI")
    found["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = settings.artifact_root
    found.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    return found


def _deployments(settings: Settings) -> dict[str, str]:
    found = {}
    for name in known_names(settings):
        where = places(settings, name)
        state = read_server_state(where)
        if state is not None and is_alive(where):
            found[name] = state.url
    return found


def _free_port() -> int:
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        if _is_free(port):
            return port
    return 0


def _checked(port: int) -> int:
    if not _is_free(port):
        raise ConflictError(
            f"Port {port} is taken by another program.",
            hint="Leave `--port` out to have a free one.",
        )
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise _ended(log)
        with contextlib.suppress(urllib.error.URLError, OSError):
            with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310 - ours
                answer.read()
            return
        time.sleep(0.1)
    raise MlopsError(
        f"MLflow's server did not answer within {_START_S:.0f} s.", hint=f"Its log: {log}"
    )


def _ended(log: Path) -> MlopsError:
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    words = "".join(f"\n  | {line}" for line in last)
    return MlopsError(f"MLflow's server ended.{words}", hint=f"All of its output: {log}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_END_S)
    server.wait()
