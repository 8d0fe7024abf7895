"""Posting many bodies to one server, on connections that stay open."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from mlops.errors import InvalidInputError, RemoteError
from mlops.settings.secrets import carries_a_secret

if TYPE_CHECKING:
    import aiohttp

#: Of an answer that is shown to users.
_SHOWN = 200
# The server may take the same again later.
_LATER = frozenset({408, 425, 429})
# Sending is not allowed, or the address is wrong: this is for a user to fix.
_SETTINGS = frozenset({401, 403, 404, 405, 407})


class Answer(NamedTuple):
    """What a server answered; status 0 is no answer, and the body says why."""

    status: int
    body: bytes


class Poster:
    """Posts to one server. Used by one thread, which has no event loop of its own.

    Args:
        url: Where to.
        headers: Sent with everything; credentials among them are never shown.
        connections: Most at once.
        timeout_s: For one answer, seconds.
        ca: File with the authorities of the server's certificate; empty for those of the system.

    Raises:
        InvalidInputError: `ca` cannot be read.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        connections: int,
        timeout_s: float,
        ca: str = "",
    ) -> None:
        self.url = url
        self._headers = dict(headers)
        self._connections = connections
        self._timeout_s = timeout_s
        try:
            self._context = ssl.create_default_context(cafile=ca) if ca else None
        except OSError as error:
            raise InvalidInputError(
                f"`ca = {ca}` cannot be read: {error.strerror or error}."
            ) from error
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None

    def post(self, bodies: Sequence[tuple[bytes, Mapping[str, str]]]) -> list[Answer]:
        """Post bodies with their headers; return the answers in their order.

        After one that is not answered, those that are not under way are not posted.
        """
        return self._loop.run_until_complete(self._post_all(bodies))

    def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            self._loop.run_until_complete(self._session.close())
        self._loop.close()

    async def _post_all(self, bodies: Sequence[tuple[bytes, Mapping[str, str]]]) -> list[Answer]:
        session = self._session = self._session or self._open()
        answers = [Answer(0, b"")] * len(bodies)
        waiting = iter(enumerate(bodies))
        several = min(self._connections, len(bodies))
        workers = [self._work(session, waiting, answers) for _ in range(several)]
        for fault in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(fault, BaseException):
                raise fault
        return answers

    async def _work(
        self,
        session: aiohttp.ClientSession,
        waiting: Iterator[tuple[int, tuple[bytes, Mapping[str, str]]]],
        answers: list[Answer],
    ) -> None:
        import aiohttp

        for index, (body, headers) in waiting:
            try:
                # A redirect followed would become a GET, and take the headers to another server.
                async with session.post(
                    self.url, data=body, headers=headers, allow_redirects=False
                ) as response:
                    answers[index] = Answer(response.status, await response.read())
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                # The others would only wait as long.
                for rest in (index, *(rest for rest, _ in waiting)):
                    answers[rest] = Answer(0, _reason(error).encode())

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        connector = aiohttp.TCPConnector(
            limit=self._connections, ssl=self._context or True, ttl_dns_cache=30
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            skip_auto_headers=("Accept-Encoding",),
        )


def verdict(answer: Answer, url: str) -> str:
    """Return why a server will never take what it was sent; empty if it took it.

    Raises:
        RemoteError: It does not take it now, or not from us.
    """
    status = answer.status
    if 200 <= status < 300:
        return ""
    said = answer.body[:_SHOWN].decode("utf-8", "replace").strip()
    if not status:
        raise RemoteError(f"{url} does not answer: {said}.")
    reason = f"{status}{f': {said}' if said else ''}"
    if status in _SETTINGS or status in _LATER or not 400 <= status < 500:
        raise RemoteError(f"{url} answered {reason}")
    return reason


def fault_of_url(to: str) -> str:
    """Say what is wrong with the URL of a sink; it is not repeated, it may hold a password."""
    try:
        parts = urlsplit(to)
    except ValueError:
        return "`to` is no URL"
    if "@" in parts.netloc:
        return "`to` holds credentials; name them by `headers` or `password`"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "`to` must be a URL, http://… or https://…"
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if carries_a_secret(name):
            return f"`to` holds a credential, `{name}`; name it by `headers`"
    return ""


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
