"""What web pages in a user's browser must not reach: a page of another origin, or a rebound name.

A page can send requests to any address that its reader's browser reaches. It sends `POST` without
asking where the content type is one of a form's (Fetch, "CORS-safelisted request-header"), and
reads answers where its own host name resolves to this server (DNS rebinding). Browsers say where a
request comes from, in `Origin` and `Sec-Fetch-Site`, which pages cannot set; other clients send
neither. No CORS header is ever sent, so what needs a preflight fails.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

_FORMS = frozenset({"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
_BROWSER = frozenset({"origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"})
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
# A pod is replaced by a deploy, a server of one machine only by a start.
_SETTING = (
    "name it in `[deploy] hosts`, then `mlops stop` and `mlops start`, or deploy to the cluster "
    "again"
)


class Guard:
    """Decides which requests are refused before they are read.

    Args:
        host: Address that the server listens on.
        hosts: Further names under which callers reach it.
        secured: Whether callers must send a token, which no page has. Asked for each request:
            the first key of a running server changes it.
    """

    def __init__(
        self, host: str, hosts: tuple[str, ...], *, secured: Callable[[], bool] = lambda: False
    ) -> None:
        self._hosts = frozenset(name.lower() for name in hosts)
        self._names = frozenset(name.lower() for name in (host, "localhost", *hosts))
        self._is_everywhere = host in _EVERYWHERE
        self._secured = secured

    def refusal(self, scope: Mapping[str, Any]) -> tuple[int, str] | None:
        """Return status and reason of a refusal; None to let the request through.

        Args:
            scope: Of ASGI.
        """
        sent = [value for name, value in scope["headers"] if name == b"host"]
        if len(sent) > 1 or (not sent and scope.get("http_version") == "1.1"):
            return 400, "A request has one Host header."
        host = sent[0].decode("latin-1").lower() if sent else ""
        if host and not self._is_ours(host):
            return 403, f"This server is not called {host[:100]!a}; if it is, {_SETTING}."
        headers = {name: value for name, value in scope["headers"] if name in _ASKED}
        if self._is_foreign(headers, host, scope["method"]):
            return 403, "Pages of another origin may not call this server."
        return None

    def _is_ours(self, host: str) -> bool:
        # A pod without a token is called by the names of services and gateways, and no browser
        # reaches it but through those.
        if not self._hosts and (self._is_everywhere or self._secured()):
            return True
        name = _name_of(host)
        # An address cannot be rebound: only the host that has it answers.
        return name in self._names or name.endswith(".localhost") or _is_address(name)

    def _is_foreign(self, headers: Mapping[bytes, bytes], host: str, method: str) -> bool:
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
        if site in ("same-origin", "none"):
            return False
        opened = (headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest"))
        if method in ("GET", "HEAD") and opened == (b"navigate", b"document"):
            # A user follows a link to a page; the page with the link reads nothing.
            return False
        if site:
            return True
        origin = headers.get(b"origin")
        if origin is None:
            return False
        where = urlsplit(origin.decode("latin-1").lower()).netloc
        return not where or (where != host and _name_of(where) not in self._hosts)


_ASKED = frozenset({b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"})


def form_type(headers: Mapping[str, str], protocol: str) -> str | None:
    """Return the media type of a request if a form could have sent it; None if it may be read.

    tritonclient sends no type at all, and Seldon's own client forms. Neither is a browser, which
    identifies itself.

    Args:
        headers: Names in lower case.
        protocol: Name of the codec.
    """
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media and media not in _FORMS:
        return None
    if not _BROWSER.isdisjoint(headers):
        return media or "no type"
    form_of_seldon = protocol == "seldon-v1" and media != "text/plain"
    return None if not media or form_of_seldon else media


def _name_of(host: str) -> str:
    """Take the port off `host:port` or `[address]:port`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
