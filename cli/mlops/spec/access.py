"""Who may do what: scopes, API keys, and whose signed tokens count.

A key is `mlops_ID_SECRET` with 256 random bits in its secret. Only its SHA-256 is kept. A slow
hash with salt is for passwords, which users choose and others guess; NIST SP 800-63B, section
5.1.2.2, asks only for an approved one-way hash where a secret has 112 random bits or more.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from mlops.errors import InvalidInputError, did_you_mean, one_of

Scope: TypeAlias = Literal[
    "predict", "feedback", "read", "requests", "force-arm", "score", "admin"
]  # fmt: skip

#: What a key may be allowed; `admin` means all of them.
SCOPES: tuple[Scope, ...] = get_args(Scope)
#: What each of them allows, for help and documentation.
SCOPE_DOCS: Mapping[Scope, str] = {
    "predict": "request predictions",
    "feedback": "send rewards and labels",
    "read": "read totals: report, metrics, live page",
    "requests": "see single requests on the live page: features, answers, labels, ids",
    "force-arm": "choose the arm of a prediction, by header or version",
    "score": "ask all arms about rows, outside of the statistics (`/score`, `:explain`)",
    "admin": "all of these",
}
#: Signatures that an issuer may use. No shared secrets: a verifier could forge those.
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
#: Matches any certificate of the authority, as a key's subject.
ANY_SUBJECT = "*"
#: Keys that one file may hold; each worker counts the calls of each.
MAX_KEYS = 4096

#: The end of the year 9999.
_LAST_MS = 253_402_300_799_999
_SCHEMA_VERSION = 1
_PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_RATE = re.compile(r"([1-9][0-9]{0,8})/(s|min|h)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_SUBJECT = re.compile(r"(CN=|DNS:|URI:)\S.{0,500}")


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests a key may send.

    Attributes:
        count: Requests of one period; they may come at once.
        period_s: Seconds.
    """

    count: int
    period_s: float


def parse_rate(text: str) -> Rate:
    """Read a rate.

    Raises:
        InvalidInputError: It is none.

    >>> parse_rate("600/min")
    Rate(count=600, period_s=60.0)
    """
    found = _RATE.fullmatch(text)
    if not found:
        raise InvalidInputError(
            f"`{text}` is not a rate.", hint="Write `100/s`, `600/min` or `5000/h`."
        )
    return Rate(int(found[1]), _PERIODS[found[2]])


@dataclass(frozen=True, slots=True)
class Key:
    """One API key, or one client certificate; nothing of it is secret.

    Attributes:
        id: Its id in journal and logs; a part of the key.
        name: Its name.
        scopes: What it allows, of `SCOPES`.
        digest: SHA-256 of the whole key, in hexadecimal; empty for a certificate.
        subject: Name in a client certificate: `CN=…`, `DNS:…` or `URI:…`, `*` for any; empty for a
            key.
        rate: As `parse_rate` reads it; empty for no limit.
        created_ms: When it was made, milliseconds since 1970 in UTC.
        expires_ms: When it expires; None for never.
        revoked_ms: When it was revoked; None if it was not.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    digest: str = ""
    subject: str = ""
    rate: str = ""
    created_ms: int = 0
    expires_ms: int | None = None
    revoked_ms: int | None = None

    def counts_at(self, time_ms: int) -> bool:
        """Whether it is neither revoked nor expired at a time."""
        return self.revoked_ms is None and (self.expires_ms is None or time_ms < self.expires_ms)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose signed tokens (JWT, RFC 7519) count.

    Attributes:
        issuer: `iss` that they must have.
        audience: `aud` that they must have.
        jwks: URL or file of the issuer's public keys (RFC 7517).
        algorithms: Of `ALGORITHMS`.
        scope_claim: Claim with the scopes, a path with dots; text with blanks or a list.
        scope_prefix: Prefix of each of them; others are left out.
        leeway_s: Seconds by which clocks may differ.
        refresh_s: Seconds after which the keys are fetched again.
    """

    issuer: str
    audience: str
    jwks: str
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    scope_claim: str = "scope"
    scope_prefix: str = ""
    leeway_s: int = 30
    refresh_s: int = 300


@dataclass(frozen=True, slots=True)
class Access:
    """Who is admitted to a server.

    Attributes:
        keys_file: API keys, as `write_keys` writes them; it may not exist (yet). Once it does,
            every caller must authenticate.
        issuer: Whose signed tokens count beside the keys; None for none.
        unprotected: Whether a server may listen beyond this machine and admit every caller.
    """

    keys_file: str = ""
    issuer: Issuer | None = None
    unprotected: bool = False


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for TLS, in PEM; read again when they change.

    Attributes:
        cert: Certificate of the server, and those between it and the authority's.
        key: Its private key.
        client_ca: Authorities of which callers must have a certificate; empty if they need none.
        client_crl: Lists of the certificates that these authorities have revoked; empty for none.
    """

    cert: str
    key: str
    client_ca: str = field(default="")
    client_crl: str = field(default="")


def new_key(name: str, scopes: Iterable[str], **more: Any) -> tuple[Key, str]:  # noqa: ANN401 - of `Key`
    """Make a key.

    Args:
        name: Its name.
        scopes: Of `SCOPES`.
        **more: Further attributes of `Key`. One with a subject has no secret.

    Returns:
        Its stored part, and the key itself; that is empty for a certificate.

    Raises:
        InvalidInputError: Something of it is wrong.
    """
    own_id = secrets.token_hex(6)
    secret = "" if more.get("subject") else f"mlops_{own_id}_{secrets.token_urlsafe(32)}"
    key = Key(own_id, name, _scopes(scopes), digest_of(secret.encode()) if secret else "", **more)
    _check(key)
    return key, secret


def issuer_from_dict(document: Mapping[str, Any] | None) -> Issuer | None:
    """Read what `dataclasses.asdict` has written; None for None."""
    if document is None:
        return None
    return Issuer(**{**document, "algorithms": tuple(document["algorithms"])})


def check_auth() -> None:
    """Check that this installation can verify signed tokens.

    Raises:
        InvalidInputError: Its libraries are missing.
    """
    if find_spec("jwt") is None or find_spec("cryptography") is None:
        raise InvalidInputError(
            "Signed tokens (`[auth]`) need `PyJWT[crypto]`, which is not installed.",
            hint="pip install 'mlops-loop[auth]'",
        )


def check_issuer(issuer: Issuer) -> None:
    """Refuse settings that would admit tokens that any client can make.

    Raises:
        InvalidInputError: They would, or something is missing.
    """
    for key in ("issuer", "audience", "jwks"):
        if not getattr(issuer, key):
            raise InvalidInputError(
                f"`{key}` of `[auth]` is missing.",
                hint="Tokens need `issuer`, `audience` and `jwks`.",
            )
    check_algorithms(issuer.algorithms)
    is_local = issuer.jwks.startswith(("http://127.0.0.1:", "http://[::1]:", "http://localhost:"))
    if issuer.jwks.startswith("http://") and not is_local:
        raise InvalidInputError(
            f"`jwks` of `[auth]` is `{issuer.jwks}`: a man in the middle could replace the keys.",
            hint="Use https://, or a file.",
        )


def check_algorithms(names: Sequence[str]) -> None:
    """Refuse signatures that others than the issuer can make.

    Raises:
        InvalidInputError: There is one, or none at all.
    """
    wrong = [each for each in names if each not in ALGORITHMS]
    if wrong or not names:
        raise InvalidInputError(
            f"`{wrong[0] if wrong else ''}` in `algorithms` of `[auth]` is not a signature "
            "that only the issuer can make.",
            hint=f"Use {one_of(ALGORITHMS)}.",
        )


def digest_of(key: bytes) -> str:
    """Return the SHA-256 of a key in hexadecimal."""
    return hashlib.sha256(key).hexdigest()


def write_keys(keys: Iterable[Key]) -> str:
    """Write keys as JSON."""
    document = {"schema_version": _SCHEMA_VERSION, "keys": [asdict(key) for key in keys]}
    return json.dumps(document, indent=2) + "\n"


def read_if_there(path: Path) -> bytes | None:
    """Read a file of keys or of a secret; None where there is none.

    Raises:
        InvalidInputError: It cannot be read, so whether it is there is not known.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidInputError(f"`{path}` cannot be read: {error.strerror}.") from error


def read_keys(text: str | bytes) -> tuple[Key, ...]:
    """Read what `write_keys` has written.

    Raises:
        InvalidInputError: It is not of this form.
    """
    try:
        document = json.loads(text)
        version = document["schema_version"]
        if version != _SCHEMA_VERSION:
            raise InvalidInputError(
                f"The keys have version {version}; this mlops reads {_SCHEMA_VERSION}."
            )
        keys = tuple(
            Key(**{**each, "scopes": _scopes(each["scopes"])}) for each in document["keys"]
        )
        for key in keys:
            _check(key)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InvalidInputError(f"The keys are broken: {error!r}.") from error
    if len(keys) > MAX_KEYS:
        raise InvalidInputError(f"{len(keys)} keys are more than the {MAX_KEYS} there may be.")
    return keys


def _scopes(names: Iterable[str]) -> tuple[Scope, ...]:
    given = list(dict.fromkeys(names))
    for name in given:
        if name not in SCOPES:
            raise InvalidInputError(
                f"`{name}` is not a scope.",
                hint=did_you_mean(name, SCOPES) or f"Use {one_of(SCOPES)}.",
            )
    if not given:
        raise InvalidInputError("A key needs a scope.", hint=f"Use {one_of(SCOPES)}.")
    return tuple(scope for scope in SCOPES if scope in given)


def _check(key: Key) -> None:
    if not _NAME.fullmatch(key.name):
        raise InvalidInputError(
            f"`{key.name[:80]}` cannot be the name of a key.",
            hint="Use up to 63 letters, digits and `.`, `_`, `@` or `-`.",
        )
    if key.rate:
        parse_rate(key.rate)
    if key.subject and key.subject != ANY_SUBJECT and not _SUBJECT.fullmatch(key.subject):
        raise InvalidInputError(
            f"`{key.subject}` is not the subject of a certificate.",
            hint=f"Write `CN=name`, `DNS:host`, `URI:spiffe://…`, or `{ANY_SUBJECT}` for any.",
        )
    if bool(key.subject) == bool(key.digest):
        raise InvalidInputError(f"The key `{key.name}` needs a digest or a subject.")
    if not isinstance(key.id, str) or not key.id or not isinstance(key.digest, str):
        raise InvalidInputError(f"The key `{key.name}` has no id.")
    times = (key.created_ms, key.expires_ms or 0, key.revoked_ms or 0)
    if not all(isinstance(each, int) and 0 <= each <= _LAST_MS for each in times):
        raise InvalidInputError(
            f"The key `{key.name}` has a time that is not milliseconds since 1970."
        )
