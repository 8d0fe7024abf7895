"""What a refusal means: of the deployment, or of whatever is in front of it.

A cluster answers through a gateway, and the gateway has its own errors: Istio's Envoy says 404
without a body where it has no route, a login page is HTML with status 200, a moved host redirects.
"""

from __future__ import annotations

import http
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlops.client.scopes import hint_of_scope
from mlops.errors import (
    MODEL_FAILED,
    MODEL_REFUSED,
    ConflictError,
    InvalidInputError,
    MlopsError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
)
from mlops.settings.secrets import without_credentials

#: What a gateway says when it did not hand the request on, or got no answer to it.
GATEWAY_STATUSES = (502, 503, 504)
_MAX_DETAIL = 500
_CLIENT_CERT = "`--client-cert CERT,KEY`"
_TITLE = re.compile(r"<title>([^<]*)", re.IGNORECASE)
_SELDON = re.compile(r"/seldon/(?P<namespace>[^/]+)/(?P<name>[^/]+)")
# The Go executor's router answers this way; no gateway does.
_GO_NOT_FOUND = "404 page not found"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: Its status.
        headers: Names in lower case.
        text: Its body.
        url: Base URL that was asked, without credentials.
        path: Path of the request, with the prefix of the base URL.
        here: Whether the server is one of this machine.
    """

    status: int
    headers: Mapping[str, str]
    text: bytes
    url: str
    path: str
    here: bool

    @property
    def has_fates(self) -> bool:
        """Whether it has the status of each outcome, as from the bundled server."""
        try:
            document = json.loads(self.text)
        except ValueError:
            return False
        return isinstance(document, dict) and {"counts", "problems"} <= document.keys()

    @property
    def is_page(self) -> bool:
        """Whether it is HTML, which no deployment answers a request with."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind == "text/html" or self.text.lstrip()[:1] == b"<"


def refusal(answer: Answer) -> MlopsError:
    """Return the error for an answer that is not of success."""
    detail = _detail(answer)
    said = f"{answer.path}: {answer.status} {detail}".rstrip()
    match answer.status:
        case status if status < http.HTTPStatus.BAD_REQUEST:
            return _redirected(answer)
        case 401 | 403:
            return NotAllowedError(said, hint=hint_of_scope(detail) or _credentials(answer))
        case http.HTTPStatus.NOT_FOUND:
            where = f"{answer.path}: {detail}" if answer.here else f"{answer.url}: 404 {detail}"
            return NotFoundError(where.rstrip(), hint=_right_path(answer, detail))
        case http.HTTPStatus.CONFLICT:
            return ConflictError(f"{answer.path}: {detail}")
        case http.HTTPStatus.TOO_MANY_REQUESTS:
            after = answer.headers.get("retry-after", "")
            hint = f"Try again in {after} s." if after.isdigit() else "Try again later."
            return RemoteError(said, hint=hint, reason="rate")
        case status if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            reason = "gateway" if status in GATEWAY_STATUSES else ""
            if detail.startswith(MODEL_FAILED):
                reason = "model"
            return RemoteError(said, hint=_server_side(answer), reason=reason)
        case _:
            reason = "model" if detail.startswith(MODEL_REFUSED) else ""
            return InvalidInputError(f"{answer.path}: {detail}", reason=reason)


def no_json(answer: Answer) -> RemoteError:
    """Return the error for an answer of success that is not JSON."""
    if answer.is_page:
        return RemoteError(
            f"{answer.url} answered {_detail(answer)}, not JSON.",
            hint="A proxy or login page is in front of it: use `--token` or `--header`.",
        )
    return RemoteError(f"{answer.url} answered something that is not JSON: {answer.text[:80]!r}.")


def no_answer(url: str, error: Exception, timeout_s: float, *, here: bool) -> RemoteError:
    """Return the error for a request without an answer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return RemoteError(
            f"{url} presents a certificate that is not trusted: {error.verify_message}.",
            hint="Name the file with its CA certificate: `--ca-file FILE`.",
        )
    if isinstance(error, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (error.reason or ""):
        return RemoteError(
            f"{url} asks callers for a certificate, and was shown none.",
            hint=f"Show one: {_CLIENT_CERT}.",
        )
    if isinstance(error, ssl.SSLError):
        return RemoteError(
            f"{url} does not use TLS: {error.reason or error}.",
            hint="Is it `http://`?",
        )
    if isinstance(error, TimeoutError):
        why, hint = f"within {timeout_s:g} s", "`--timeout SECONDS` waits longer."
    else:
        why, hint = str(error) or type(error).__name__, "Is it the right host and port?"
        if url.startswith("https:") and isinstance(error, ConnectionError):
            # Where the alert that says so is lost.
            hint += f" A server that asks callers for a certificate takes {_CLIENT_CERT}."
    return RemoteError(
        f"{url} does not answer{' ' if why.startswith('within') else ': '}{why}.",
        hint="`mlops status` shows whether it runs." if here else hint,
        reason="unanswered",
    )


def _detail(answer: Answer) -> str:
    """What was said, whichever protocol's error shape it used."""
    if answer.is_page:
        title = _TITLE.search(answer.text[:100_000].decode(errors="replace"))
        return f"an HTML page titled `{title[1].strip()[:80]}`" if title else "an HTML page"
    try:
        document = json.loads(answer.text)
    except ValueError:
        return answer.text[:_MAX_DETAIL].decode(errors="replace").strip()
    if isinstance(document, dict):
        match document.get("problems"):
            case [{"error": problem}, *_]:
                return str(problem)
        status = document.get("status")
        if isinstance(status, dict):
            return str(status.get("info"))
        return str(document.get("error") or document.get("message") or document)[:_MAX_DETAIL]
    return str(document)[:_MAX_DETAIL]


def _redirected(answer: Answer) -> RemoteError:
    # What follows `?` may be the state of a login, which is confidential.
    target = without_credentials(re.split("[?#]", answer.headers.get("location", ""))[0])
    return RemoteError(
        f"{answer.url} redirects callers ({answer.status}) to `{target}`.",
        hint="If that is the deployment, use its URL; redirects are not followed, since rows and "
        "token would go there too. If it is a login page, send what it asks for with `--header`.",
    )


def _credentials(answer: Answer) -> str:
    give = "Give `--token env:VARIABLE` or `--token file:PATH`"
    if answer.here or answer.status == http.HTTPStatus.UNAUTHORIZED:
        return f"{give}; one that was given is not valid there."
    return (
        f"{give}, or ask the gateway's operator: it may know this caller and still refuse it, as "
        "Istio's AuthorizationPolicy does."
    )


def _server_side(answer: Answer) -> str:
    if answer.here:
        return "`mlops logs` may say more."
    if answer.status in GATEWAY_STATUSES:
        return "The gateway answers and the deployment behind it does not: are its pods ready?"
    return "Its pods' logs may say more."


def _right_path(answer: Answer, detail: str) -> str | None:
    """Say what the URL should have been."""
    if answer.here:
        return None
    parts = urlsplit(answer.url)
    root, prefix = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    if detail == _GO_NOT_FOUND:
        return (
            "Seldon's executor was reached and does not know this path. It is there with "
            "`protocol: seldon` only; with `v2` Seldon Core v1 has no feedback at all."
        )
    found = _SELDON.fullmatch(prefix)
    if found:
        return (
            f"The gateway has no such route: `kubectl -n {found['namespace']} get "
            f"seldondeployments {found['name']}` shows whether it is there. A port-forward goes "
            f"past the gateway: `{root}` without a path."
        )
    if prefix:
        return f"A SeldonDeployment is at `{root}/seldon/NAMESPACE/NAME`, not under `{prefix}`."
    return (
        f"Behind Istio or Ambassador a SeldonDeployment is at `{root}/seldon/NAMESPACE/NAME`; a "
        "gateway that routes by host needs `--header Host=NAME.example.com`."
    )
