"""One keep-alive HTTP connection to a deployment, for commands.

By `http.client`: with TLS it takes 35 to 50 ms of processor time to import, and httpx, which
`mlops.Client` uses from its first request on, 100 to 140 ms more (measured by `time.process_time`
on one machine). That is more than all the rest of `mlops predict` or `mlops status`.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import json
import select
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlops.client.faults import Answer, no_answer, no_json, refusal
from mlops.client.urls import split_url
from mlops.errors import InvalidInputError, RemoteError

_TIMEOUT_S = 60.0
# A server that is only busy says within it that it lives.
_ALIVE_S = 10.0
# Between attempts of what may be sent twice.
_PAUSES_S = (0.5, 2.0)


class Connection:
    """Sends requests to one base URL; a context manager. Not for several threads.

    Args:
        url: Base URL, with a path prefix if the deployment is behind a gateway.
        token: Bearer token, empty for none.
        headers: Sent with every request.
        tls: How to check a server of `https`; None as the system does.
        timeout_s: Seconds to wait for a connection, and for each part of an answer.
        here: Whether the server is one of this machine that `mlops status` knows; a hang is
            then detected within seconds, however long a prediction may take.

    Raises:
        InvalidInputError: The URL is not http or https, or holds credentials.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        tls: ssl.SSLContext | None = None,
        timeout_s: float = _TIMEOUT_S,
        here: bool = True,
    ) -> None:
        parts = split_url(url)
        host, port = parts.hostname or "", parts.port
        self._http: http.client.HTTPConnection = (
            http.client.HTTPSConnection(host, port, timeout=timeout_s, context=tls)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=timeout_s)
        )
        self._url, self._prefix = url.rstrip("/"), parts.path.rstrip("/")
        self._timeout_s, self._here = timeout_s, here
        self._headers = {**({"authorization": f"Bearer {token}"} if token else {}), **headers}

    def post(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] = MappingProxyType({}),
        fates: bool = False,
    ) -> tuple[Any, Mapping[str, str]]:
        """Send a body; return the JSON answer and the headers, names in lower case.

        With `fates` an answer with the status of each outcome raises no error: for a
        single one an mlops server also refuses with the HTTP status.

        Nothing is ever sent twice. A connection that the server closed in the meantime, because
        it idled, is reopened first.

        Raises:
            RemoteError: The server does not answer, says 5xx, or what it says is not JSON.
            NotAllowedError: It requires a token.
            NotFoundError: It says 404.
            ConflictError: It says 409.
            InvalidInputError: It refuses the request otherwise.
        """
        answer = self._request("POST", path, body, {"content-type": content_type, **headers})
        if answer.status >= http.HTTPStatus.MULTIPLE_CHOICES and not (fates and answer.has_fates):
            raise refusal(answer)
        return _json(answer), answer.headers

    def post_harmless(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        fates: bool = False,
        wait: Callable[[float], None] = time.sleep,
    ) -> tuple[Any, Mapping[str, str]]:
        """Send a body that changes nothing if it comes twice.

        On another machine it is tried again without an answer, or if a gateway answered for a
        server that is not there. Raises as `post` does.
        """
        for pause in () if self._here else _PAUSES_S:
            try:
                return self.post(path, body, content_type=content_type, fates=fates)
            except RemoteError as error:
                if error.reason not in ("unanswered", "gateway", "rate"):
                    raise
                wait(pause)
        return self.post(path, body, content_type=content_type, fates=fates)

    def get(self, path: str) -> Answer:
        """Ask for a page; return the answer, of any status.

        Raises:
            RemoteError: The server does not answer.
        """
        return self._request("GET", path, None, {})

    def close(self) -> None:
        """Close; the next request connects again."""
        self._http.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        try:
            response = self._send(method, path, body, {**self._headers, **headers})
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise no_answer(self._url, error, self._timeout_s, here=self._here) from error
        except BaseException:
            # Interrupted in the middle: what is left on this connection answers no request.
            self._http.close()
            raise
        fields = {name.lower(): value for name, value in response.getheaders()}
        where = f"{self._prefix}{path}"
        return Answer(response.status, fields, text, self._url, where, self._here)

    def _find_alive(self) -> None:
        """Open the connection and check that the server responds."""
        self._http.timeout = min(_ALIVE_S, self._timeout_s)
        try:
            self._http.request("GET", f"{self._prefix}/v2/health/live")
            self._http.getresponse().read()
        except TimeoutError as error:
            self._http.close()
            raise no_answer(self._url, error, self._http.timeout, here=True) from error
        finally:
            self._http.timeout = self._timeout_s
        if self._http.sock is not None:
            self._http.sock.settimeout(self._timeout_s)

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        if self._here and self._http.sock is None:
            self._find_alive()
        idle = self._http.sock
        # Between two answers a server sends nothing; if there is something to read, it is the end.
        if idle is not None and select.select([idle], [], [], 0)[0]:
            self._http.close()
        if self._http.sock is None:
            self._http.connect()
        # A server that refuses a body for its size answers before all of it is sent; if nothing was
        # answered, reading fails as well.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._http.request(method, f"{self._prefix}{path}", body, dict(headers))
        return self._http.getresponse()


def read_token(path: str) -> str:
    """Return the token in a file, empty if there is no file to read.

    Raises:
        InvalidInputError: The file cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"The token file `{path}` cannot be read: {error}.") from error


def _json(answer: Answer) -> Any:  # noqa: ANN401 - a JSON value
    try:
        return json.loads(answer.text)
    except ValueError as error:
        raise no_json(answer) from error
