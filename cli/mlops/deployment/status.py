"""What runs here, quickly: from state files and the servers' sockets, without MLflow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mlops.deployment.admin_client import get_status
from mlops.deployment.runtime_files import Places, is_alive, read_server_state, unreadable
from mlops.errors import NotFoundError, RemoteError
from mlops.spec.describing import describe_choice
from mlops.spec.server import read_holder

State = Literal["running", "starting", "unresponsive", "stopped", "crashed", "unknown"]
_FOLLOW_S = 0.2


@dataclass(frozen=True, slots=True)
class Status:
    """One deployment on this machine.

    Attributes:
        name: Its name.
        state: `running`; `starting`, or about to end; `unresponsive` if its process lives but
            does not answer; `stopped` cleanly; `crashed`, also after a reboot; `unknown` if
            the state it wrote cannot be read.
        url: Where it is, or was.
        revision: What it serves, or served last.
        pid: Its process, 0 if it does not run.
        since_ms: When it became ready or stopped, milliseconds since 1970 in UTC; for a crash,
            whose time was not recorded, when it became ready.
        arms: What each arm did since the server started; empty if it does not run.
        shadows: What each shadow did since then; empty likewise.
        feedback: Feedback since the server started, by its status.
        log: Its log file; empty if it runs in a terminal.
        warnings: The server's warnings; empty if it does not run.
        grpc: Address of its gRPC port, `host:port`; empty for none.
        consumers: Progress of each consumer of its journal; empty if it does not run.
        workers: What each worker process does, where there are several; empty likewise.
        choice: How an arm is chosen, where that is not by fixed shares: policy, ramp, guardrails.
        journal: `requests` and `outcomes` that the journal holds, of all times; None if unknown.
    """

    name: str
    state: State
    url: str
    revision: int
    pid: int
    since_ms: int
    arms: tuple[dict[str, Any], ...]
    feedback: dict[str, int]
    log: str
    shadows: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    grpc: str = ""
    choice: str = ""
    journal: dict[str, int] | None = None
    consumers: tuple[dict[str, Any], ...] = ()
    workers: tuple[dict[str, Any], ...] = ()


def status(where: Places) -> Status:
    """Return the status of one deployment.

    Raises:
        NotFoundError: It was never started here.
    """
    said = read_server_state(where)
    if said is None and (where.state.exists() or is_alive(where)):
        return _unknown(where)
    if said is None:
        raise NotFoundError(f"There is no deployment `{where.name}` here.", hint="`mlops status`")
    alive = is_alive(where)
    answer: dict[str, Any] = {}
    state: State = "crashed" if said.stopped_ms is None else "stopped"
    if alive and said.stopped_ms is not None:
        state = "starting"
    elif alive:
        try:
            answer = get_status(said.launch.socket)
            state = "running"
        except RemoteError:
            state = "unresponsive"
    return Status(
        name=where.name,
        state=state,
        url=said.url,
        revision=said.launch.served.revision.number,
        pid=said.pid if alive and said.stopped_ms is None else 0,
        since_ms=said.stopped_ms or said.started_ms,
        arms=tuple(answer.get("arms", ())),
        feedback=answer.get("feedback", {}),
        log=said.launch.log_file,
        shadows=tuple(answer.get("shadows", ())),
        warnings=tuple(answer.get("warnings", ())),
        grpc=said.grpc,
        choice=describe_choice(said.launch.served.revision.spec),
        journal=answer.get("journal") or None,
        consumers=tuple(answer.get("consumers", ())),
        workers=tuple(answer.get("workers", ())),
    )


def _unknown(where: Places) -> Status:
    """Return what is known of a deployment whose server cannot be asked."""
    alive = is_alive(where)
    holder = read_holder(where.lock) if alive else None
    # A server writes its state once it is ready, and answers a question about it from then on.
    starting = alive and not where.state.exists()
    told = unreadable(where).rstrip(".") or f"`{where.state}` is gone or damaged"
    return Status(
        name=where.name,
        state="starting" if starting else "unresponsive" if alive else "unknown",
        url="",
        revision=0,
        pid=holder.pid if holder else 0,
        since_ms=0,
        arms=(),
        feedback={},
        log=str(where.log) if where.log.exists() else "",
        warnings=()
        if starting
        else (
            f"{told}. Its server does not answer in a form that this version knows."
            if alive
            else f"{told}; `mlops deploy` writes it again.",
        ),
    )


def log_lines(where: Places, *, last: int, follow: bool) -> Iterator[str]:
    """Yield the last lines of a server's log, and then, with `follow`, each new one.

    Raises:
        NotFoundError: There is no log.
    """
    if not where.log.exists():
        raise NotFoundError(f"There is no log of `{where.name}`.", hint="`mlops status`")
    with where.log.open(encoding="utf-8", errors="replace") as file:
        lines = file.readlines()
        yield from lines[max(0, len(lines) - last) :]
        while follow:
            line = file.readline()
            if line:
                yield line
            else:
                time.sleep(_FOLLOW_S)
