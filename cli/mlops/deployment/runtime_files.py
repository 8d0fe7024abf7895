"""Where a deployment on this machine keeps its files, and whether its server lives."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlops.deployment.admin_client import get_state
from mlops.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RemoteError,
    did_you_mean,
)
from mlops.settings.needs import DeploymentSettings
from mlops.spec.request_id import KEY_BYTES, fingerprint
from mlops.spec.server import OtherVersionError, ServerState, read_holder, read_state

_LOCK_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one deployment.

    Attributes:
        name: Name of the deployment.
        folder: `.mlops/run`.
    """

    name: str
    folder: Path

    @property
    def state(self) -> Path:
        """The state that the server last wrote."""
        return self.folder / f"{self.name}.json"

    @property
    def cluster(self) -> Path:
        """There if this project put the deployment into a cluster; the ledger knows where."""
        return self.folder / f"{self.name}.cluster"

    @property
    def launch(self) -> Path:
        """How the server is started."""
        return self.folder / f"{self.name}.launch"

    @property
    def lock(self) -> Path:
        """Held by the server while it lives."""
        return self.folder / f"{self.name}.lock"

    @property
    def deploying(self) -> Path:
        """Held by the command that changes the deployment."""
        return self.folder / f"{self.name}.deploying"

    @property
    def key(self) -> Path:
        """The key of the request ids; outlives the server, so that late feedback is known."""
        return self.folder / f"{self.name}.key"

    @property
    def token(self) -> Path:
        """The token callers must send, if the server listens beyond this machine."""
        return self.folder / f"{self.name}.token"

    @property
    def keys(self) -> Path:
        """API keys of callers, hashed; once it is there, every caller must send one."""
        return self.folder / f"{self.name}.keys"

    @property
    def log(self) -> Path:
        """The server's output."""
        return self.folder / f"{self.name}.log"


def places(settings: DeploymentSettings, name: str) -> Places:
    """Return where the files of a deployment are; nothing is created."""
    return Places(name, settings.home / "run")


def deployment_name(settings: DeploymentSettings) -> str:
    """Name of the project's deployment: the setting, else made from the project's name."""
    text = settings.deploy.name or settings.project_name
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "model"


def known_names(settings: DeploymentSettings) -> list[str]:
    """Names of the deployments that were ever started here, in alphabetical order."""
    folder = settings.home / "run"
    names = {path.stem for path in folder.glob("*.json")}
    # One whose file was removed still runs.
    names |= {path.stem for path in folder.glob("*.lock") if is_alive(Places(path.stem, folder))}
    return sorted(names)


def cluster_names(settings: DeploymentSettings) -> list[str]:
    """Names of the deployments that this project put into a cluster, in alphabetical order."""
    return sorted(path.stem for path in (settings.home / "run").glob("*.cluster"))


def note_cluster(where: Places) -> None:
    """Remember that a deployment is on a cluster, so that the ledger is asked only if one is."""
    where.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    where.cluster.touch()


def pick_name(settings: DeploymentSettings, name: str | None) -> str:
    """Return the deployment a command means.

    Args:
        settings: The project's settings.
        name: What the user wrote, or None to take the project's or the only one.

    Raises:
        NotFoundError: There is none of that name, none at all, or several to choose from.
    """
    known = sorted({*known_names(settings), *cluster_names(settings)})
    wanted = name or settings.deploy.name or (known[0] if len(known) == 1 else "")
    if wanted not in known and not name and deployment_name(settings) in known:
        wanted = deployment_name(settings)
    if wanted in known:
        return wanted
    if not known:
        raise NotFoundError(
            "Nothing is deployed here yet.", hint="`mlops deploy --ab modelA modelB`"
        )
    names = ", ".join(f"`{each}`" for each in known)
    if not wanted:
        raise NotFoundError("There are several deployments here.", hint=f"Name one of {names}.")
    hint = did_you_mean(wanted, known) or f"Deployed here: {names}."
    raise NotFoundError(f"There is no deployment `{wanted}` here.", hint=hint)


def read_server_state(where: Places) -> ServerState | None:
    """Return the state that the server last wrote, None if it never ran.

    Where its file is gone or damaged, a server that runs is asked, and one that does not has left
    nothing that could be read.
    """
    if where.state.exists():
        with contextlib.suppress(InvalidInputError):
            return read_state(where.state)
    holder = read_holder(where.lock)
    if holder is None or not is_alive(where):
        return None
    with contextlib.suppress(RemoteError):
        return get_state(holder.socket)
    return None


def unreadable(where: Places) -> str:
    """Say why the state that a server wrote is of no use here; empty if it is, or is damaged.

    A damaged file is written again by the server; one of another version stays unreadable.
    """
    try:
        read_state(where.state)
    except OtherVersionError as error:
        return error.message
    except InvalidInputError:
        pass
    return ""


def is_alive(where: Places) -> bool:
    """Whether the deployment's server runs.

    The kernel answers: a living server holds its lock, and nothing that was left behind by a
    crash or a reboot does.
    """
    try:
        # Of those who may only look, too. Also on NFS a shared lock needs no more.
        descriptor = os.open(where.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, or two that ask at once would take each other for the server.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def changing(where: Places, wait_s: float = _LOCK_WAIT_S) -> Iterator[None]:
    """Hold the lock for changing a deployment from this machine.

    Raises:
        ConflictError: Another command has it, and kept it for `wait_s` seconds.
    """
    where.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(where.deploying, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(descriptor, where.name, wait_s)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, name: str, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConflictError(
                    f"Another command is changing `{name}`.", hint="Try again when it is done."
                ) from error
            time.sleep(0.1)
        else:
            return


def make_key(where: Places) -> None:
    """Create the deployment's key unless it has one."""
    _write_secret(where.key, secrets.token_bytes(KEY_BYTES))


def set_key_aside(where: Places) -> None:
    """Rename the deployment's key, so that `make_key` makes another; ids of the old one need it."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    where.key.rename(where.key.with_name(f"{where.key.name}.until-{now}"))


def key_print(where: Places) -> str:
    """Return the fingerprint of the deployment's key as its file is now; empty without one.

    Raises:
        InvalidInputError: See `read_key`.
    """
    key = read_key(where)
    return fingerprint(key) if key is not None else ""


def read_key(where: Places) -> bytes | None:
    """Return the deployment's key as its file is now; None without one.

    Raises:
        InvalidInputError: It cannot be read, or has another length.
    """
    try:
        key = where.key.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInputError(
            f"The key `{where.key}` cannot be read: {error.strerror}.",
            hint="It is for the user who deployed; run the command as that user.",
        ) from error
    if len(key) != KEY_BYTES:
        raise InvalidInputError(
            f"The key `{where.key}` has {len(key)} bytes, not {KEY_BYTES}.",
            hint="Put it back from a backup.",
        )
    return key


def make_token(where: Places) -> None:
    """Create the token for callers unless there is one."""
    _write_secret(where.token, secrets.token_urlsafe(32).encode())


def _write_secret(path: Path, content: bytes) -> None:
    """Write a file of mode 0600, complete or not at all; leave one that is there."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # A power cut must not leave an empty key file.
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def socket_path(where: Places) -> Path:
    """Path for the administration socket.

    A Unix socket's path may have 107 bytes, and project paths are longer; so it goes into
    this user's own runtime folder, under a name made from the deployment's.

    Where another user made a folder of that name before, which only its owner can remove from a
    sticky `/tmp`, the socket gets a new folder; the server's files say where.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    runtime = Path(base if base and Path(base).is_dir() else tempfile.gettempdir())
    folder = runtime / f"mlops-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=runtime))
    digest = hashlib.sha256(str(where.state).encode()).hexdigest()[:20]
    return folder / f"{digest}.sock"
