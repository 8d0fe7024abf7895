"""Real servers as processes of the tests: on loopback, in a folder of their own, gone with them."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

_ENOUGH_S = 120.0
_FOREIGN = ("MLFLOW_", "MLOPS_", "AWS_", "GOOGLE_", "STORAGE_", "API_ENDPOINT_", "NO_GCE_")


# Below those that the system gives to outgoing connections (32768 and up on Linux), as one of these
# could take a port before its server does.
_FIRST_PORT, _SLICES, _PORTS = 20_000, 24, 500
_given: set[int] = set()


def unused_port() -> int:
    """Return an unused port of loopback, and each only once.

    It is of a slice of this pytest process: another one would see a port as unused until its server
    has started.
    """
    first = _FIRST_PORT + own_slice() * _PORTS
    while True:
        left = [port for port in range(first, first + _PORTS) if port not in _given]
        if not left:
            _given.clear()
            continue
        port = secrets.choice(left)
        _given.add(port)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@functools.cache
def own_slice() -> int:
    """Return which slice of ports this pytest process has."""
    taken = take_slice(Path(tempfile.gettempdir()))
    # The descriptor stays open, and the slice taken, for as long as this process lives.
    return taken[0] if taken else secrets.randbelow(_SLICES)


def take_slice(folder: Path) -> tuple[int, int] | None:
    """Take a slice of the ports that no other process of this machine has.

    Args:
        folder: Where each slice has a file that is locked by who has it.

    Returns:
        The slice, and the descriptor that holds it; None if all are taken.
    """
    for number in range(_SLICES):
        # A file of another user cannot be opened: that slice counts as taken.
        with contextlib.suppress(OSError):
            path = folder / f"mlops-tests-ports-{number}.lock"
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise
            return number, descriptor
    return None


class ServerProcess:
    """A server that can be started, ended and started again on the same port.

    Args:
        command: What to run.
        folder: Its current folder; `log` in it gets the output.
        url: Its address.
        ready: Path that answers once the server does; any answer below 500 counts.
        environ: Variables beside those of this process that speak of no store and no MLflow.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        url: str,
        ready: str,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.log = folder / "log"
        self._command = [str(word) for word in command]
        self._folder = folder
        self._ready = ready
        own = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        self._environ = own | dict(environ or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Lock()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _ENOUGH_S
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, its workers too. May be called again."""
        # A thread that uploads may be at it when the test's own asks for a restart.
        with self._stopping:
            if self._process is not None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._process = None

    def rest(self, *, resting: bool) -> None:
        """Let it do nothing, or go on: some take a tenth of a processor for being there."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGSTOP if resting else signal.SIGCONT)

    def restart(self) -> None:
        """Start it again after `stop`, on the same port and with the same data."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}{self._ready}", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return error.code < 500
        except OSError:
            return False
