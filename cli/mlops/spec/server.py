"""What the command line hands to a server it starts, and the state that the server reports.

Both are JSON files in `.mlops/run`. Neither holds a secret: keys and tokens are files of mode
0600 that these records only name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlops.errors import ConflictError, InvalidInputError, MlopsError
from mlops.spec.access import Access, Tls, issuer_from_dict
from mlops.spec.deployment import Revision, from_dict, to_dict
from mlops.spec.request_log import LogSink, sink_from_dict, sink_to_dict

#: Addresses that only this machine can reach.
LOOPBACK = ("127.0.0.1", "::1", "localhost")

#: What is watched unless the settings say otherwise.
WATCHED = ("drift", "quality")

_SCHEMA_VERSION = 1
_NOBODY_ELSE = Access()
_HOLDER_BYTES = 1_024
_LOCK_TRIES, _LOCK_PAUSE_S = 20, 0.05


@dataclass(frozen=True, slots=True)
class Served:
    """A revision together with the local folders of its models.

    Attributes:
        revision: What to serve.
        paths: Local model folder of each arm, then of each shadow, in order; empty for an endpoint.
        pythons: Interpreter of the environment in which each of them runs, in the same order; an
            empty one is that of the server. Without any, all run there.
    """

    revision: Revision
    paths: tuple[str, ...]
    pythons: tuple[str, ...] = ()

    def python_of(self, index: int) -> str:
        """Interpreter of the model at a position of `paths`; empty for that of the server."""
        return self.pythons[index] if self.pythons else ""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server.

    Attributes:
        name: Name of the deployment.
        served: First revision to serve.
        host: Address to listen on.
        port: Port to listen on; 0 for the first free one from 8080.
        journal_url: SQLAlchemy URL of the journal without a password, or where to find one:
            `env:VARIABLE` or `file:PATH`.
        features: `all`, `none`, or the names of the features kept with each decision.
        state_file: Where the server writes its `ServerState`.
        lock_file: Held exclusively by the server while it lives.
        key_file: 32 bytes that tag request ids; mode 0600.
        token_file: Bearer token that callers must send; empty for none.
        socket: Path of the administration socket.
        log_file: Where its output goes; empty for the terminal.
        alpha: Probability of ever naming a false winner, for its report page.
        baseline: Arm that its report page compares with; empty for the first.
        max_bodies_mib: MiB that all large request bodies under way may have together.
        client_ids: Whether feedback may name a request by its caller's own id.
        hosts: Names under which callers reach it, beside its address and `localhost`.
        consumers: Names of consumers that read its journal.
        watch: Names of the built-in ones that watch its answers.
        season: The period of traffic: `none`, `day` or `week`.
        webhook: Where the URL is that alarms are sent to, `env:VARIABLE` or `file:PATH`; empty for
            none.
        workers: Processes that share the requests.
        journal_max_mb: Megabytes from which the journal is too large; 0 for never.
        grpc_port: Port to listen on for gRPC; 0 for no gRPC.
        runtimes: Folder of the runtimes that were chosen before; empty to choose at each start.
        access: Who is admitted, beside callers with the token.
        tls: Files for TLS, for HTTP and gRPC; None for none.
        sinks: Where its request log goes.
        hashed: Features that the journal has as keyed hashes only.
        dropped: Features that it never has.
        key_print: Fingerprint of the key in `key_file`; empty if it was not known.
        new_key: Whether the journal is to have that key in place of another.
        place: Which server of the deployment it is: host and folder. One at a time runs there.
    """

    name: str
    served: Served
    host: str
    port: int
    journal_url: str
    features: str | tuple[str, ...]
    state_file: str
    lock_file: str
    key_file: str
    token_file: str
    socket: str
    log_file: str
    alpha: float = 0.05
    baseline: str = ""
    max_bodies_mib: int = 128
    journal_max_mb: int = 0
    client_ids: bool = True
    hosts: tuple[str, ...] = ()
    grpc_port: int = 0
    consumers: tuple[str, ...] = ()
    watch: tuple[str, ...] = WATCHED
    season: str = "none"
    webhook: str = ""
    workers: int = 1
    runtimes: str = ""
    access: Access = _NOBODY_ELSE
    tls: Tls | None = None
    sinks: tuple[LogSink, ...] = ()
    hashed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    key_print: str = ""
    new_key: bool = False
    place: str = ""

    @property
    def url(self) -> str:
        """Base URL for callers on this machine."""
        return f"{'https' if self.tls else 'http'}://{self._host}:{self.port}"

    @property
    def hidden(self) -> tuple[str, ...]:
        """Features whose values are kept nowhere."""
        return (*self.hashed, *self.dropped)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK

    @property
    def credentials(self) -> str:
        """File with the token that commands of this machine send; empty where callers need none."""
        if self.token_file or not self.access.keys_file:
            return self.token_file
        keys = Path(self.access.keys_file)
        own = keys.with_suffix(".token")
        return str(own) if keys.exists() and own.exists() else ""

    @property
    def grpc(self) -> str:
        """Address of its gRPC port for callers on this machine, `host:port`; empty for none."""
        return f"{self._host}:{self.grpc_port}" if self.grpc_port else ""

    @property
    def _host(self) -> str:
        host = self.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = "127.0.0.1"
        return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class ServerState:
    """The state that a server last wrote.

    Attributes:
        launch: How it was started, with the port it really has and what it serves now.
        pid: Its process.
        started_ms: When it became ready, milliseconds since 1970 in UTC.
        stopped_ms: When it stopped cleanly; None while it runs, and after a crash.
        notes: Notes of loading each arm, arm by arm.
        request: A prediction request that works, as JSON data for `/invocations`; None if the
            models have no input example.
        runtimes: What executes the model of each arm: `name`, `proof` that it answers as the model
            itself does, or null, and `reasons` why nothing faster does.
    """

    launch: Launch
    pid: int
    started_ms: int
    stopped_ms: int | None
    notes: tuple[tuple[str, ...], ...]
    request: dict[str, Any] | None
    runtimes: tuple[dict[str, Any], ...] = ()

    @property
    def url(self) -> str:
        """Base URL for callers on this machine."""
        return self.launch.url

    @property
    def grpc(self) -> str:
        """Address of its gRPC port for callers on this machine, `host:port`; empty for none."""
        return self.launch.grpc


def check_grpc() -> None:
    """Check that this installation can serve gRPC.

    Raises:
        InvalidInputError: Its libraries are missing.
    """
    if find_spec("grpc") is None:
        raise InvalidInputError(
            "gRPC needs `grpcio`, which is not installed.", hint="pip install 'mlops-loop[grpc]'"
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a deployment's lock, as it is in the lock file.

    Attributes:
        pid: Its process.
        socket: Path of its administration socket.
    """

    pid: int
    socket: str


def hold_lock(path: Path) -> int:
    """Take a deployment's lock and return its descriptor.

    A server holds it while it runs. The kernel releases it however the process ends, which is how
    other processes know whether it runs.

    Raises:
        ConflictError: Another server of this deployment runs.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for attempt in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # A process that only checks whether the server runs holds it for a moment.
            if attempt == _LOCK_TRIES - 1:
                os.close(descriptor)
                raise ConflictError(
                    "Another server of this deployment runs already.", hint="mlops status"
                ) from error
            time.sleep(_LOCK_PAUSE_S)
        else:
            break
    return descriptor


def write_holder(path: Path, holder: Holder) -> None:
    """Write into the lock file who holds it, over what is there.

    In place and of one size: the file is the lock, and a full disk has no space for a larger one.
    """
    text = json.dumps(asdict(holder)).ljust(_HOLDER_BYTES).encode()
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, text, 0)
        finally:
            os.close(descriptor)


def read_holder(path: Path) -> Holder | None:
    """Read who holds a lock, or held it last; None if it was never written."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(document["pid"]), str(document["socket"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def served_to_dict(served: Served) -> dict[str, Any]:
    """Write a served revision as plain JSON data."""
    return {
        "number": served.revision.number,
        "spec": to_dict(served.revision.spec),
        "paths": list(served.paths),
        "pythons": list(served.pythons),
    }


def served_from_dict(document: Mapping[str, Any]) -> Served:
    """Read a served revision.

    Raises:
        InvalidInputError: The document is not of this form.
    """
    try:
        revision = Revision(int(document["number"]), from_dict(document["spec"]))
        paths = tuple(str(path) for path in document["paths"])
        pythons = tuple(str(python) for python in document.get("pythons", ()))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"This revision is broken: {error!r}.") from error
    wanted = len(revision.spec.models)
    if len(paths) != wanted:
        raise InvalidInputError(f"{wanted} arms and shadows, but {len(paths)} model folders.")
    if pythons and len(pythons) != wanted:
        raise InvalidInputError(f"{wanted} arms and shadows, but {len(pythons)} environments.")
    return Served(revision, paths, pythons)


def write_launch(launch: Launch, path: Path) -> None:
    """Write how to start a server.

    Raises:
        MlopsError: It cannot be written.
    """
    _write(path, _launch_to_dict(launch))


def read_launch(path: Path) -> Launch:
    """Read what `write_launch` has written.

    Raises:
        InvalidInputError: The file is missing or broken.
    """
    document = _read(path)
    try:
        return _launch_from_dict(document)
    except (KeyError, TypeError) as error:
        raise InvalidInputError(f"`{path}` is broken: {error!r}.") from error


def write_state(state: ServerState, path: Path) -> None:
    """Write the state of a server atomically, so that a reader never sees half.

    Raises:
        MlopsError: It cannot be written; the earlier state is kept.
    """
    _write(path, state_to_dict(state))


def state_to_dict(state: ServerState) -> dict[str, Any]:
    """Write the state of a server as plain JSON data."""
    return {**asdict(state), "launch": _launch_to_dict(state.launch)}


class OtherVersionError(InvalidInputError):
    """The state of a server is in the form of another version of mlops."""


def read_state(path: Path) -> ServerState:
    """Read what `write_state` has written.

    Raises:
        InvalidInputError: The file is missing or broken; an `OtherVersionError` if it is whole, and
            of another version.
    """
    return state_from_dict(_read(path), str(path))


def written_fields(path: Path) -> frozenset[str]:
    """Return the fields of a launch that a state file has; that of an earlier version has fewer.

    Raises:
        InvalidInputError: The file is missing or broken.
    """
    return frozenset(_read(path).get("launch", ()))


def state_from_dict(document: Mapping[str, Any], name: str) -> ServerState:
    """Read what `state_to_dict` has written.

    Args:
        document: JSON data.
        name: Where it is from, for the error.

    Raises:
        OtherVersionError: It is not of this form.
    """
    try:
        if document.get("schema_version", _SCHEMA_VERSION) != _SCHEMA_VERSION:
            raise KeyError(f"form {document['schema_version']}")
        return ServerState(
            launch=_launch_from_dict(document["launch"]),
            pid=document["pid"],
            started_ms=document["started_ms"],
            stopped_ms=document["stopped_ms"],
            notes=tuple(tuple(notes) for notes in document["notes"]),
            request=document["request"],
            runtimes=tuple(document.get("runtimes", ())),
        )
    except (KeyError, TypeError, AttributeError, InvalidInputError) as error:
        raise OtherVersionError(
            f"`{name}` was written by another version of mlops, or by hand: {error}.",
            hint="Use the version that started the server; or end it by its process id, and "
            "`mlops deploy` again.",
        ) from error


def _launch_to_dict(launch: Launch) -> dict[str, Any]:
    sinks = [sink_to_dict(sink) for sink in launch.sinks]
    return {**asdict(launch), "served": served_to_dict(launch.served), "sinks": sinks}


def _launch_from_dict(document: dict[str, Any]) -> Launch:
    features = document["features"]
    # A later version may have more.
    known = {field.name for field in fields(Launch)}
    return Launch(
        **{
            **{k: v for k, v in document.items() if k in known},
            "served": served_from_dict(document["served"]),
            "features": features if isinstance(features, str) else tuple(features),
            "hosts": tuple(document.get("hosts", ())),
            "consumers": tuple(document.get("consumers", ())),
            "hashed": tuple(document.get("hashed", ())),
            "dropped": tuple(document.get("dropped", ())),
            "watch": tuple(document.get("watch", ())),
            "access": _access(document.get("access", {})),
            "tls": Tls(**document["tls"]) if document.get("tls") else None,
            "sinks": tuple(sink_from_dict(sink) for sink in document.get("sinks", ())),
        }
    )


def _access(document: Mapping[str, Any]) -> Access:
    return Access(**{**document, "issuer": issuer_from_dict(document.get("issuer"))})


def _write(path: Path, document: dict[str, Any]) -> None:
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    text = json.dumps({"schema_version": _SCHEMA_VERSION, **document}, indent=2)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        draft.replace(path)
    except OSError as error:
        # On a full disk it is there with no bytes in it; a read-only one refuses this too.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise MlopsError(
            f"`{path}` cannot be written: {error}.", hint="Free space, or fix the permissions."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise TypeError("it holds no JSON object")
    except (OSError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"`{path}` cannot be read: {error}.", hint="Remove it and deploy again."
        ) from error
    return document
