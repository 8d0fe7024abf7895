"""One keep-alive HTTP connection to a deployment."""

from __future__ import annotations

import http.client
import json
import select
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any
from urllib.parse import urlsplit

from mlops.errors import (
    ConflictError,
    InvalidInputError,
    MlopsError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
)

_TIMEOUT_S = 60.0
_MAX_DETAIL = 500


class Connection:
    """Sends requests to one base URL; a context manager. Not for several threads.

    Args:
        url: Base URL, with a path prefix if the deployment is behind a gateway.
        token: Bearer token, empty for none.

    Raises:
        InvalidInputError: The URL is not http or https.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInputError(
                f"`{url}` is not a URL of a server.", hint="Write `http://host:port/path`."
            )
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._url = url
        self._prefix = parts.path.rstrip("/")
        self._http = kind(parts.hostname, parts.port, timeout=_TIMEOUT_S)
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def post(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[Any, Mapping[str, str]]:
        """Send a body; return the JSON answer and the headers, names in lower case.

        Nothing is ever sent twice. A connection that the server closed in the meantime, because
        it idled, is opened anew first.

        Raises:
            RemoteError: The server does not answer, or says 5xx.
            NotAllowedError: It wants a token.
            NotFoundError: It says 404.
            ConflictError: It says 409.
            InvalidInputError: It refuses the request otherwise.
        """
        try:
            sent = {**self._headers, "content-type": content_type, **headers}
            response = self._send(path, body, sent)
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise RemoteError(
                f"{self._url} does not answer: {error or type(error).__name__}.",
                hint="`mlops status` shows whether it runs.",
            ) from error
        except BaseException:
            # Interrupted in the middle: what is left on this connection is nobody's answer.
            self._http.close()
            raise
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise _fault(response.status, text, f"{self._prefix}{path}")
        fields = {name.lower(): value for name, value in response.getheaders()}
        return _json(text, self._url), fields

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def _send(self, path: str, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        idle = self._http.sock
        # Between two answers a server says nothing; if there is something to read, it is the end.
        if idle is not None and select.select([idle], [], [], 0)[0]:
            self._http.close()
        self._http.request("POST", f"{self._prefix}{path}", body, dict(headers))
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


def _json(text: bytes, url: str) -> Any:  # noqa: ANN401 - a JSON value
    try:
        return json.loads(text)
    except ValueError as error:
        raise RemoteError(f"{url} answered something that is not JSON: {text[:80]!r}.") from error


def _fault(status: int, text: bytes, path: str) -> MlopsError:
    detail = _detail(text)
    if status in (401, 403):
        return NotAllowedError(f"{path}: {status} {detail}", hint="Give `--token-file FILE`.")
    if status == http.HTTPStatus.NOT_FOUND:
        return NotFoundError(f"{path}: {detail}")
    if status == http.HTTPStatus.CONFLICT:
        return ConflictError(f"{path}: {detail}")
    if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return RemoteError(f"{path}: {status} {detail}", hint="`mlops logs` may say more.")
    return InvalidInputError(f"{path}: {detail}")


def _detail(text: bytes) -> str:
    """What the server said, whichever protocol's error shape it used."""
    try:
        document = json.loads(text)
    except ValueError:
        return text[:_MAX_DETAIL].decode(errors="replace")
    if isinstance(document, dict):
        for problem in document.get("problems") or ():
            return str(problem.get("error"))
        status = document.get("status")
        if isinstance(status, dict):
            return str(status.get("info"))
        return str(document.get("error") or document.get("message") or document)[:_MAX_DETAIL]
    return str(document)[:_MAX_DETAIL]
