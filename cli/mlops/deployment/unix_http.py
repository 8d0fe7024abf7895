"""HTTP over a Unix socket."""

from __future__ import annotations

import http.client
import socket


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def exchange(
    path: str, method: str, target: str, body: str | None, timeout: float
) -> tuple[int, bytes]:
    """Send a request of JSON; return status and body of the answer.

    Raises:
        OSError: There is no answer, or not in HTTP.
    """
    connection = _UnixConnection(path, timeout)
    try:
        connection.request(method, target, body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(repr(error)) from error
    finally:
        connection.close()
