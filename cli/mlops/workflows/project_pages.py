"""`mlops ui`: the page of a project's deployments, and MLflow's own pages on its store."""

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
from mlops.settings.private import private_opener
from mlops.training.interrupts import signals_interrupt

_HOST = "127.0.0.1"
_FIRST_PORT = 5000
_PORTS = 100
_START_S = 120.0
_END_S = 5.0
_LONG_S = 3600.0


@dataclass(frozen=True, slots=True)
class Pages:
    """Where to look.

    Attributes:
        url: The page of the project, with all of its deployments.
        mlflow: MLflow's own pages.
        deployments: Name of each deployment that runs here to the URL of its server, which has
            `/ui`, `/report` and `/docs`.
    """

    url: str
    mlflow: str
    deployments: dict[str, str]


class ServedPages:
    """Pages that are served until `wait` is interrupted.

    Attributes:
        pages: Where they are.
    """

    def __init__(self, pages: Pages, server: subprocess.Popen[bytes] | None, log: Path) -> None:
        self.pages = pages
        self._server = server
        self._log = log

    def wait(self) -> None:
        """Run until Ctrl-C, or until MLflow's server ends where it was started here.

        Raises:
            MlopsError: It ended unexpectedly.
        """
        with contextlib.suppress(KeyboardInterrupt):
            if self._server is None:
                while True:
                    time.sleep(_LONG_S)
            self._server.wait()
            raise _ended(self._log)


@contextmanager
def project_pages(settings: Settings, port: int | None = None) -> Iterator[ServedPages]:
    """Serve the page of a project, and MLflow's, while the block runs.

    If runs are kept by a server, it has MLflow's pages, and no other is started.

    Args:
        settings: The project, and where MLflow is.
        port: Port of the page; by default the first free one from 5000. MLflow's has the next free.

    Raises:
        NotFoundError: The store is not there yet.
        ConflictError: The port is taken.
        MlopsError: A server did not start.
    """
    from mlops.workflows.project_page import served

    log = settings.home / "logs" / "mlflow-ui.log"
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals_interrupt())
        own = stack.enter_context(_bound(port))
        mlflow, server = _remote(settings), None
        if not mlflow:
            mlflow, server = stack.enter_context(_mlflow(settings, own.getsockname()[1], log))
        stack.enter_context(served(settings, mlflow, own))
        url = f"http://{_HOST}:{own.getsockname()[1]}"
        yield ServedPages(Pages(url, mlflow, _deployments(settings)), server, log)


def _remote(settings: Settings) -> str:
    """Return where a server has MLflow's pages; empty where they are to be served here."""
    if is_server(settings):
        return ask_tracking(settings).uri
    if nothing_yet(settings):
        raise NotFoundError(
            f"Nothing is tracked in `{settings.project_dir}` yet.", hint="`mlops train`"
        )
    return ""


@contextmanager
def _mlflow(
    settings: Settings, after: int, log: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = _free_port(after + 1)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb", opener=private_opener) as output:
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
            yield url, server
        finally:
            _end(server)


@contextmanager
def _bound(port: int | None) -> Iterator[socket.socket]:
    """Bind the socket of the page, so that no other process takes it in the meantime."""
    wanted = [port] if port else [*range(_FIRST_PORT, _FIRST_PORT + _PORTS), 0]
    for each in wanted:
        with socket.socket() as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                own.bind((_HOST, each))
                own.listen()
            except OSError:
                continue
            yield own
            return
    raise ConflictError(
        f"Port {port} is taken by another program.",
        hint="Leave `--port` out to have a free one.",
    )


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


def _free_port(first: int) -> int:
    for port in range(first, min(first + _PORTS, 65_536)):
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


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
