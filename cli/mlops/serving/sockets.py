"""The sockets that a server listens on: a port for callers, a path for its owner."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mlops.errors import ConflictError
from mlops.spec.server import Launch, check_grpc

_FIRST_PORT, _LAST_PORT = 8080, 8180
#: Connections that may wait to be taken.
BACKLOG = 2048


def bind(host: str, port: int, count: int = 1, option: str = "--port") -> list[socket.socket]:
    """Listen on a port, by several sockets between which the kernel shares connections.

    Args:
        host: Address.
        port: Port; 0 for the first free one from 8080.
        count: How many sockets.
        option: The command line option for the port.

    Raises:
        ConflictError: It cannot be used.
    """
    for candidate in [port] if port else range(_FIRST_PORT, _LAST_PORT):
        try:
            return _listen(host, candidate, count)
        except OSError as error:
            reason = error
    raise ConflictError(
        f"Port {port or f'{_FIRST_PORT} to {_LAST_PORT - 1}'} on {host} cannot be used: {reason}.",
        hint=f"Choose another with `{option}`.",
    )


def _listen(host: str, port: int, count: int) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    first = socket.create_server((host, port), family=family, backlog=BACKLOG)
    if count == 1:
        return [_without_waiting(first)]
    # Only that one shows that no other process is there: with SO_REUSEPORT this one would be the
    # partner of another server of this user, and get half of its connections.
    first.close()
    with contextlib.ExitStack() as stack:
        found = [
            stack.enter_context(
                socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=True)
            )
            for _ in range(count)
        ]
        stack.pop_all()
    return [_without_waiting(each) for each in found]


def _without_waiting(listening: socket.socket) -> socket.socket:
    """Keep every process from blocking in `accept`, now or later.

    Whether one waits is a state of what all processes share, and `dup` of a Python socket sets it
    again: a worker whose neighbour was first at a connection blocks there with all its callers.
    """
    listening.setblocking(False)
    return listening


def check_grpc_port(launch: Launch) -> None:
    """Make sure that a launch's gRPC port, if it has one, can be listened on.

    Raises:
        ConflictError: It cannot.
        InvalidInputError: The libraries are missing.
    """
    if launch.grpc_port:
        check_grpc()
        for each in bind(launch.host, launch.grpc_port, option="--grpc-port"):
            each.close()


@contextlib.contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """Listen on a socket that only this user can open."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        control.bind(str(path))
    finally:
        os.umask(before)
    control.listen(16)
    _without_waiting(control)
    try:
        yield control
    finally:
        control.close()
        path.unlink(missing_ok=True)
