"""The local target: one child process per deployment."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

from mlops.deployment.access import admission_of
from mlops.deployment.admin_client import answers, swap
from mlops.deployment.journals import journal_environment, journal_reference
from mlops.deployment.lost_state import is_to_rotate
from mlops.deployment.runtime_files import (
    Places,
    is_alive,
    key_print,
    known_names,
    make_key,
    make_token,
    places,
    read_server_state,
    set_key_aside,
    socket_path,
    unreadable,
)
from mlops.errors import ConflictError, MlopsError, RemoteError, UsageError, kind_of
from mlops.runtimes.kept import runtimes_of
from mlops.settings.actor import place_of
from mlops.settings.needs import RolloutSettings
from mlops.settings.private import private_opener
from mlops.settings.schema import check_webhook, season_ms, watched
from mlops.spec.server import (
    Launch,
    Served,
    ServerState,
    check_grpc,
    hold_lock,
    read_holder,
    write_launch,
    write_state,
)
from mlops.spec.tls import check_revocable

_LOG = logging.getLogger(__name__)
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05
_PORTS_TO_TRY = 100
_LAST_LINES = 15
# Above this size the log of earlier starts is rotated.
_MAX_LOG_BYTES = 20 * 1024 * 1024
_LEFT_RUNNING: list[subprocess.Popen[bytes]] = []


def running(where: Places) -> ServerState | None:
    """Return the state of a deployment's server if it lives and is ready, else None."""
    state = read_server_state(where) if is_alive(where) else None
    # While a server starts or stops, the file still holds what the last one said.
    return state if state is not None and state.stopped_ms is None else None


def settled(where: Places) -> ServerState | None:
    """Return the same as `running`, after waiting for a server that is starting or stopping.

    Raises:
        RemoteError: It neither becomes ready nor ends.
        ConflictError: It was started by another, incompatible version of mlops.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while is_alive(where):
        state = running(where)
        if state is not None:
            return state
        check_readable(where)
        if time.monotonic() > deadline:
            raise RemoteError(
                f"The server of `{where.name}` is starting or stopping, and does not finish.",
                hint=f"`mlops logs {where.name}`",
            )
        time.sleep(_POLL_S)
    return None


def check_readable(where: Places) -> None:
    """Detect early, not after minutes, that a running server is of another version.

    Raises:
        ConflictError: It was started by another version of mlops.
    """
    fault = unreadable(where)
    if fault:
        holder = read_holder(where.lock)
        pid = holder.pid if holder else 0
        raise ConflictError(
            f"The server of `{where.name}` runs (process {pid}). {fault}",
            hint=f"Use the version that started it; or `kill {pid}`, and `mlops deploy` again: "
            "feedback that was acknowledged is safe.",
        )


def serve(
    settings: RolloutSettings,
    where: Places,
    served: Served,
    *,
    foreground: bool = False,
    on_wait: Callable[[float], None] = lambda _: None,
) -> tuple[ServerState, subprocess.Popen[bytes] | None]:
    """Make the deployment serve a revision: swap it in, or start a server with it.

    Args:
        settings: Host, port and journal of a server that has to be started.
        where: Files of the deployment.
        served: The revision and its model folders.
        foreground: Let a started server write to this terminal instead of its log.
        on_wait: Called at intervals with the seconds waited for a start.

    Returns:
        The state of the server, and its process if it was started in the foreground.

    Raises:
        InvalidInputError: A model cannot be served; the former revision stays live.
        MlopsError: The server did not start; its last log lines are in the message.
    """
    state = settled(where)
    if state is not None:
        swap(state.launch.socket, served)
        after = read_server_state(where)
        assert after is not None
        return after, None
    launch = make_launch(settings, where, served, foreground=foreground)
    _set_aside(where.log)
    seen = where.log.stat().st_size if launch.log_file and where.log.exists() else 0
    process = _start(launch, where, settings)
    if not foreground:
        # Kept, as it is meant to outlive this process; those that have ended are dropped.
        _LEFT_RUNNING[:] = [each for each in _LEFT_RUNNING if each.poll() is None] + [process]
    if not foreground:
        return _wait(process, launch, where, seen, on_wait), None
    try:
        state = _wait(process, launch, where, seen, on_wait)
    except KeyboardInterrupt:
        # A supervisor's signal is sent to this process alone.
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    # From here on, not only while waiting: a signal in between would leave it running.
    _PASSED_ON[process.pid] = _SignalPassing(process)
    return state, process


def make_launch(
    settings: RolloutSettings, where: Places, served: Served, *, foreground: bool
) -> Launch:
    """Decide how a server is started, and create the key and token it needs."""
    # Commands that only look import this module, and need no store.
    from mlops.deployment.log_sinks import log_sinks

    season_ms(settings.watch.season)
    check_webhook(settings.watch.webhook)
    settings.make_home()
    host, port = _address(settings, where)
    admission = admission_of(settings, where, host)
    check_revocable(admission.tls, _grpc_port(settings, where))
    # Not before all is checked: a start that is refused leaves the key as it was.
    if is_to_rotate(settings, where):
        set_key_aside(where)
    make_key(where)
    if admission.token:
        make_token(where)
    return Launch(
        name=where.name,
        served=served,
        host=host,
        port=port,
        journal_url=journal_reference(settings, where.name),
        features=settings.journal.features,
        state_file=str(where.state),
        lock_file=str(where.lock),
        key_file=str(where.key),
        token_file=str(where.token) if admission.token else "",
        socket=str(socket_path(where)),
        log_file="" if foreground else str(where.log),
        alpha=settings.report.alpha,
        baseline=settings.report.baseline,
        max_bodies_mib=settings.deploy.max_bodies_mib,
        journal_max_mb=settings.journal.max_mb,
        client_ids=settings.feedback.client_ids,
        hosts=settings.deploy.hosts,
        grpc_port=_grpc_port(settings, where),
        consumers=settings.journal.consumers,
        watch=watched(settings.watch),
        season=settings.watch.season,
        webhook=settings.watch.webhook,
        workers=_workers(settings, where),
        runtimes=str(runtimes_of(settings.home).folder),
        access=admission.access,
        tls=admission.tls,
        sinks=log_sinks(settings),
        hashed=settings.journal.hash,
        dropped=settings.journal.drop,
        key_print=key_print(where),
        new_key=settings.deploy.new_key,
        place=place_of(where.folder),
    )


def check_admission(settings: RolloutSettings, where: Places) -> None:
    """Check before anything is written who would be admitted to a server.

    Raises:
        UsageError: As `admission_of`; or gRPC would admit callers whose certificates are revoked.
        InvalidInputError: As `admission_of`.
    """
    admission = admission_of(settings, where, _address(settings, where)[0])
    check_revocable(admission.tls, _grpc_port(settings, where))
    if admission.warning:
        _LOG.warning("%s", admission.warning)


def _workers(settings: RolloutSettings, where: Places) -> int:
    """Return how many processes share the requests: as many as before, unless set."""
    before = read_server_state(where)
    if before is not None and settings.origins["deploy.workers"] == "default":
        return before.launch.workers
    return settings.deploy.workers or 1


def _address(settings: RolloutSettings, where: Places) -> tuple[str, int]:
    """Return the host and port to listen on; port 0 for any."""
    own, before = settings.deploy, read_server_state(where)
    if before is None:
        return own.host, own.port
    # The URL is stable: a server that restarts takes the address it had, unless another is set.
    host = before.launch.host if settings.origins["deploy.host"] == "default" else own.host
    kept_port = before.launch.port if settings.origins["deploy.port"] == "default" else 0
    return host, own.port or kept_port


def _grpc_port(settings: RolloutSettings, where: Places) -> int:
    """Return the port to listen on for gRPC; 0 for none. It is as stable as the URL."""
    before = read_server_state(where)
    if before is not None and settings.origins["deploy.grpc_port"] == "default":
        return before.launch.grpc_port
    return settings.deploy.grpc_port


def check_port(settings: RolloutSettings, where: Places) -> None:
    """Check before anything is written what would otherwise fail in the server.

    Raises:
        ConflictError: Another program has a port that a server would take.
        InvalidInputError: It is to serve gRPC, whose libraries are not installed.
        UsageError: Both ports are the same.
    """
    host, port = _address(settings, where)
    grpc_port = _grpc_port(settings, where)
    if grpc_port:
        check_grpc()
    for option, each in (("--port", port), ("--grpc-port", grpc_port)):
        if each:
            _check_free(settings, where, host, each, option)
    if grpc_port and grpc_port == port:
        raise UsageError(
            f"Port {port} cannot be both for HTTP and for gRPC.", hint="Choose two that differ."
        )


def _check_free(
    settings: RolloutSettings, where: Places, host: str, port: int, option: str
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConflictError(
                f"`{where.name}` cannot listen on {host}, port {port}: {error.strerror}.",
                hint=f"Choose others with `--host` and `{option}`.",
            ) from error
        other = _own_at(settings, port)
        by = f"your deployment `{other}`" if other else "another program"
        first = f"`mlops stop {other}`" if other else "Stop that program"
        free = _free_port(host, port, family)
        # What was stopped may be coming back by `mlops start`, which keeps the port.
        stopped = read_server_state(where) is not None
        again = f"`mlops deploy --name {where.name} {option} {free}`"
        other_port = again if stopped else f"add `{option} {free}`"
        raise ConflictError(
            f"Port {port} on {host}, which `{where.name}` should use, is taken by {by}.",
            hint=f"{first}, or {other_port}: callers then need the new URL.",
        ) from error


def check_answers(state: ServerState) -> None:
    """Detect early that a server hangs, not after the time that a model may take to load.

    Raises:
        RemoteError: It does not answer.
    """
    if not answers(state.launch.socket):
        name = state.launch.name
        raise RemoteError(
            f"The server of `{name}` (process {state.pid}) is running, and does not answer.",
            hint=f"Try again, or `kill -9 {state.pid}` and `mlops start {name}`: feedback that was "
            "acknowledged is safe.",
        )


def _own_at(settings: RolloutSettings, port: int) -> str:
    """Return the deployment of this project that listens on a port, empty if none does."""
    for name in known_names(settings):
        where = places(settings, name)
        state = read_server_state(where)
        if state is None or not is_alive(where):
            continue
        if port in (state.launch.port, state.launch.grpc_port):
            return name
    return ""


def _free_port(host: str, port: int, family: socket.AddressFamily) -> int:
    """Return the first free port after one, or any where none near it is free."""
    for candidate in (*range(port + 1, min(port + _PORTS_TO_TRY, 65_536)), 0):
        with (
            contextlib.suppress(OSError),
            socket.create_server((host, candidate), family=family) as own,
        ):
            found: int = own.getsockname()[1]
            return found
    return 0


def stop(where: Places) -> bool:
    """Stop a deployment's server gracefully; return whether one ran.

    Raises:
        RemoteError: It does not end.
    """
    state = settled(where)
    if state is None:
        return False
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while is_alive(where):
        if time.monotonic() > deadline:
            raise RemoteError(
                f"The server of `{where.name}` (process {state.pid}) does not stop.",
                hint=f"`kill -9 {state.pid}`: feedback that was acknowledged is safe.",
            )
        time.sleep(_POLL_S)
    return True


def stay(process: subprocess.Popen[bytes]) -> int:
    """Wait for a server in the foreground, passing on signals to end; return its exit code.

    Ctrl-C reaches it through the terminal too, a supervisor's signal only through this process.

    Raises:
        KeyboardInterrupt: It ended because of a Ctrl-C.
    """
    passing = _PASSED_ON.pop(process.pid, None) or _SignalPassing(process)
    try:
        code = process.wait()
    finally:
        passing.end()
    if signal.SIGINT in passing.received:
        raise KeyboardInterrupt
    return code


class _SignalPassing:
    """Passes signals to end on to a server, from its start until `end`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.received: list[int] = []
        self._before = {
            number: signal.signal(number, self._pass_on)
            for number in (signal.SIGINT, signal.SIGTERM)
        }

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
        self._process.send_signal(number)

    def end(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


_PASSED_ON: dict[int, _SignalPassing] = {}


def _start(launch: Launch, where: Places, settings: RolloutSettings) -> subprocess.Popen[bytes]:
    # Taken here and handed on: there is no moment at which a server starts without a lock, even
    # if this process is killed.
    lock = hold_lock(where.lock)
    try:
        _close_books(where)
        write_launch(launch, where.launch)
        command = [sys.executable, "-P", "-m", "mlops.serving", str(where.launch), str(lock)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_RUN")}
        environment.update(journal_environment(settings, where.name))
        if not launch.log_file:
            return subprocess.Popen(
                command, cwd=settings.project_dir, env=environment, pass_fds=[lock]
            )
        with open(where.log, "ab", opener=private_opener) as log:
            return subprocess.Popen(
                command,
                cwd=settings.project_dir,
                env=environment,
                pass_fds=[lock],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in this terminal is not meant for a server that continues.
                start_new_session=True,
            )
    finally:
        os.close(lock)


def _close_books(where: Places) -> None:
    """Mark the state of a crashed server as over, so that the next one is not taken for it."""
    said = read_server_state(where)
    if said is not None and said.stopped_ms is None:
        write_state(replace(said, stopped_ms=time.time_ns() // 1_000_000), where.state)


def _wait(
    process: subprocess.Popen[bytes],
    launch: Launch,
    where: Places,
    seen: int,
    on_wait: Callable[[float], None],
) -> ServerState:
    started = time.monotonic()
    while True:
        state = read_server_state(where)
        if state is not None and state.pid == process.pid and state.stopped_ms is None:
            return state
        waited = time.monotonic() - started
        if process.poll() is not None:
            words = _last_words(launch, seen)
            raise kind_of(exit_code=process.returncode)(
                f"The server of `{where.name}` did not start.{words}",
                hint=f"`mlops logs {where.name}` shows everything." if words else None,
            )
        if waited > _START_TIMEOUT_S:
            process.terminate()
            raise MlopsError(
                f"The server of `{where.name}` was not ready after {waited:.0f} s."
                f"{_last_words(launch, seen)}"
            )
        on_wait(waited)
        time.sleep(_POLL_S)


def _last_words(launch: Launch, seen: int) -> str:
    """Return the last lines that a server wrote to its log, which had `seen` bytes before."""
    if not launch.log_file:
        return ""
    with Path(launch.log_file).open("rb") as log:
        log.seek(seen)
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join([" Its last words:", *lines[-_LAST_LINES:]])


def _set_aside(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
