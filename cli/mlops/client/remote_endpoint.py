"""A remote deployment: how it is reached, and its protocol.

The protocol follows from the URL where the URL says it, as Seldon's gateways and the model paths
of V2 and KServe do; else the server is asked, as mlops names itself at `/v2`.
"""

from __future__ import annotations

import contextlib
import http
import json
import re
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mlops.client.connection import Connection
from mlops.client.faults import GATEWAY_STATUSES, Answer, no_json, refusal
from mlops.client.urls import split_url
from mlops.errors import InvalidInputError, UsageError, one_of
from mlops.settings.secrets import carries_a_secret, is_reference, look_up
from mlops.spec.endpoint import is_endpoint
from mlops.spec.wire import WIRES, find_wire

_MLOPS = "mlops"
_GUESS = "auto"
_END = "/invocations"
_SIGN = re.compile(r"(?P<base>.*)(?P<path>)/(feedback|invocations)")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_ALLOWED, _REDIRECTED = (401, 403), 3


@dataclass(frozen=True, slots=True)
class RemoteServer:
    """Where a deployment is, and how to get to it.

    Attributes:
        url: Its URL, with whatever path the gateway wants before the protocol's own.
        protocol: `mlops`, a name of `WIRES`, or `auto`.
        token: `env:VARIABLE` or `file:PATH` with a bearer token; empty for none.
        headers: `NAME=VALUE`; a value may be such a reference, and must be if it is a secret.
        ca_file: Certificates of the authorities to trust; empty for the system's.
        insecure: Do not verify certificates.
        timeout_s: Seconds to wait for an answer.
        client_cert: Certificate to show, with its key in the same file or after a comma.
    """

    url: str
    protocol: str = _GUESS
    token: str = ""
    headers: tuple[str, ...] = ()
    ca_file: str = ""
    insecure: bool = False
    timeout_s: float = 60.0
    client_cert: str = ""


@dataclass(frozen=True, slots=True)
class Reached:
    """A connection to a deployment elsewhere.

    Attributes:
        url: Base URL, without what the protocol adds.
        protocol: What it speaks.
        predictions: Path under that URL that answers predictions.
        connection: To that URL.
    """

    url: str
    protocol: str
    predictions: str
    connection: Connection


def reach(where: RemoteServer) -> Reached:
    """Prepare a connection, and detect the deployment's protocol.

    Raises:
        UsageError: A token or header that may be a secret is on the command line.
        InvalidInputError: The URL, a reference or the file of certificates is not usable.
        RemoteError: The protocol has to be asked for, and there is no answer.
    """
    base, path, sign = read_url(where.url, _known(where.protocol))
    connection = Connection(
        base,
        _token(where.token),
        headers=_headers(where.headers),
        tls=_tls(where) if base.startswith("https:") else None,
        timeout_s=where.timeout_s,
        here=False,
    )
    if sign is None or (sign == "mlflow" and where.protocol == _GUESS):
        # An mlops server answers at MLflow's path too.
        sign = _ask(connection, base, sign or "seldon")
    end = _END if sign == _MLOPS else WIRES.load(sign).end
    return Reached(base, sign, path + end, connection)


def read_url(url: str, protocol: str = _GUESS) -> tuple[str, str, str | None]:
    """Return the base URL, the model's path, and the protocol, None where nothing says it.

    Raises:
        InvalidInputError: Not a URL, has a query or a fragment, or a protocol before its scheme.

    >>> read_url("http://gateway/seldon/shops/wine/api/v1.0/feedback")
    ('http://gateway/seldon/shops/wine', '', 'seldon')
    >>> read_url("https://host/v2/models/wine")
    ('https://host', '/v2/models/wine', 'v2')
    >>> read_url("https://wine.example.com/")
    ('https://wine.example.com', '', None)
    """
    if is_endpoint(url):
        said, _, rest = url.partition("+")
        raise InvalidInputError(
            f"`{said}+` is for arms of a deployment.",
            hint=f"`--url {rest.partition('#')[0]} --protocol {said}`",
        )
    parts = split_url(url)
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise InvalidInputError(
            f"`{re.split('[?#]', url)[0]}` has something after its path.",
            hint="Credentials are sent by `--token` or `--header`, and nothing else belongs there.",
        )
    path, root = parts.path.rstrip("/"), f"{parts.scheme}://{parts.netloc}"
    known = None if protocol == _GUESS else protocol
    for meant, sign in _signs():
        found = sign.fullmatch(path)
        if found and known in (None, meant):
            return root + found["base"], found["path"], meant
    if known not in (None, _MLOPS) and WIRES.load(known).names_model:
        example = WIRES.load(known).example.partition("//")[2].partition("/")[2]
        raise InvalidInputError(
            f"`{url}` names no model, as `--protocol {known}` has to.",
            hint=f"Write `{root}/{example}`.",
        )
    return root + path, "", known


def _known(protocol: str) -> str:
    """Return the short name of a protocol.

    Raises:
        UsageError: There is none of this name.
    """
    if protocol in (_GUESS, _MLOPS):
        return protocol
    wire = find_wire(protocol)
    if wire is None:
        known = (_GUESS, _MLOPS, *WIRES.names())
        raise UsageError(f"There is no protocol `{protocol}`.", hint=f"Use {one_of(known)}.")
    return wire.short


def _signs() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Yield how a path names its protocol, and where what the protocol adds begins."""
    for name in WIRES:
        yield from ((name, sign) for sign in WIRES.load(name).signs)
    yield _MLOPS, _SIGN


def _ask(connection: Connection, url: str, otherwise: str) -> str:
    """Ask the server whether it is an mlops server; on a failure the connection is closed."""
    with contextlib.ExitStack() as stack:
        stack.callback(connection.close)
        protocol = _named(connection.get("/v2"), url, otherwise)
        stack.pop_all()
    return protocol


def _named(answer: Answer, url: str, otherwise: str) -> str:
    unknown = (*_NOT_ALLOWED, *GATEWAY_STATUSES)
    if answer.status in unknown or answer.status // 100 == _REDIRECTED:
        raise refusal(answer)
    if answer.status == http.HTTPStatus.OK and answer.is_page:
        raise no_json(answer)
    try:
        name = json.loads(answer.text)["name"]
    except (ValueError, KeyError, TypeError):
        # Seldon's executor and wrapper have no `/v2` with the protocol that takes feedback.
        return otherwise
    if name == "mlops":
        return "mlops"
    if otherwise == "mlflow":
        # MLServer has that path, for the model that it serves.
        return otherwise
    raise InvalidInputError(
        f"{url} is a server of several models, `{str(name)[:40]}`.",
        hint=f"Name one: `--url {url}/v2/models/NAME`.",
    )


def _token(text: str) -> str:
    if text and not is_reference(text):
        raise UsageError(
            "A token must not be on a command line: other users see it, and the shell keeps it.",
            hint="`--token env:VARIABLE` or `--token file:PATH` names where it is.",
        )
    return _one_line(look_up(text), "authorization") if text else ""


def _headers(texts: Iterable[str]) -> dict[str, str]:
    headers = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not _HEADER_NAME.fullmatch(name):
            raise UsageError(
                f"`--header {name[:40]}` names no header.", hint="Write `--header NAME=VALUE`."
            )
        if carries_a_secret(name) and not is_reference(value):
            raise UsageError(
                f"The header `{name}` may hold a secret, which others would see here.",
                hint=f"`--header {name}=env:VARIABLE` or `{name}=file:PATH` names where it is.",
            )
        headers[name.lower()] = _one_line(look_up(value), name)
    return headers


def _one_line(value: str, name: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise InvalidInputError(f"The value of the header `{name}` is not one line of ASCII.")
    return value


def _tls(where: RemoteServer) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=where.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "it holds no certificate"
        raise InvalidInputError(f"`{where.ca_file}` cannot be read: {reason}.") from error
    if where.client_cert:
        cert, _, key = where.client_cert.partition(",")
        try:
            context.load_cert_chain(cert, key or None)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or "it has no certificate with its key"
            raise InvalidInputError(
                f"`{where.client_cert}` cannot be used: {reason}.",
                hint="`--client-cert CERT.pem,KEY.pem`, or one file with both.",
            ) from error
    if where.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
