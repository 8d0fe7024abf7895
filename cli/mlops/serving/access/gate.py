"""The gate: who a caller is, and whether a call is allowed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access.buckets import shared_places
from mlops.serving.access.grants import ANYBODY, Grant, expand
from mlops.serving.access.keyring import Keyring
from mlops.serving.access.refusals import Refusals
from mlops.serving.access.required_scopes import Need
from mlops.spec.access import SCOPES

if TYPE_CHECKING:
    from mlops.serving.access.signed import Verifier

#: Names in a caller's certificate, which the authority has signed; empty without one.
Names: TypeAlias = tuple[str, ...]

#: What journal and logs call the token of a deployment.
TOKEN_ID = "token"  # noqa: S105 - a name
# Headers that are remembered with what they grant.
_MAX_KNOWN = 1024


class Gate:
    """Admits callers, or says why not. Lives on one event loop.

    Args:
        token: The token of the deployment, which allows everything; empty for none.
        keyring: The API keys.
        verifier: Checks signed tokens; None without an issuer.
        client_ca: Whether callers show certificates that were checked.
        anybody: What every caller may do where none must authenticate.
    """

    def __init__(
        self,
        token: str = "",
        keyring: Keyring | None = None,
        verifier: Verifier | None = None,
        *,
        client_ca: bool = False,
        anybody: Grant = ANYBODY,
    ) -> None:
        self._token = token.encode()
        self.keyring = keyring or Keyring("", shared_places())
        self.verifier = verifier
        self.reads_certificates = client_ca
        self._anybody = anybody
        self._known: dict[bytes, Grant] = {}
        self._listeners: list[Callable[[], None]] = []
        self._refusals = Refusals()

    @property
    def required(self) -> bool:
        """Whether callers must say who they are."""
        return bool(self._token or self.keyring.exists or self.verifier or self.reads_certificates)

    def on_change(self, forget: Callable[[], None]) -> None:
        """Have `forget` called whenever an earlier grant may no longer be valid."""
        self._listeners.append(forget)

    def forget(self) -> None:
        """Check every credential again from now on."""
        self._known.clear()
        for forget in self._listeners:
            forget()

    def admit(
        self, authorization: bytes, need: Need, names: Names = (), *, spend: bool = True
    ) -> Grant:
        """Let a call in.

        Args:
            authorization: The header, or metadata, of that name; empty for none.
            need: What the call needs.
            names: Those of the caller's certificate.
            spend: Whether to count it as a request of its key.

        Raises:
            ProtocolError: `UNAUTHENTICATED`, `FORBIDDEN`, `TOO_MANY`, or `NOT_READY` while a token
                cannot be checked.
        """
        if need == "open":
            return ANYBODY
        if not self.required:
            self._anybody.check(need)
            return self._anybody
        key_id = ""
        try:
            grant = self._known.get(authorization) or self._look(authorization, names)
            key_id = grant.key_id or ""
            grant.check(need)
            if spend:
                grant.spend()
        except ProtocolError as error:
            if spend:
                self._refusals.note(key_id, error)
            raise
        return grant

    def _look(self, authorization: bytes, names: Names) -> Grant:
        if not authorization:
            grant = self.keyring.of_names(names) if names else None
            if grant is None:
                raise ProtocolError(Kind.UNAUTHENTICATED, _needed(names))
            return grant
        grant = self._of(_sent(authorization))
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[authorization] = grant
        return grant

    def _of(self, sent: bytes) -> Grant:
        if self._token and hmac.compare_digest(sent, self._token):
            return Grant(TOKEN_ID, expand(["admin"]))
        grant = self.keyring.of_key(sent)
        if grant is not None:
            return grant
        if self.verifier is not None and sent.count(b".") == 2:
            return self.verifier.grant(sent)
        raise ProtocolError(Kind.UNAUTHENTICATED, "This key or token is not known here.")

    def kind_of(self, sent: bytes) -> str:
        """Say what a credential that was admitted is: `token`, `key` or `signed`."""
        if self._token and hmac.compare_digest(sent, self._token):
            return "token"
        return "key" if self.keyring.of_key(sent) is not None else "signed"

    def grant_of(self, kind: str, key_id: str) -> Grant | None:
        """Return what a credential allows that was admitted before; None if it counts no more.

        Args:
            kind: As `kind_of` says.
            key_id: Of its grant.
        """
        if kind == "token" and self._token:
            return Grant(TOKEN_ID, expand(["admin"]))
        if kind == "key":
            return self.keyring.of_id(key_id)
        # What remembers it remembers what it allowed, and when it expires.
        known = kind == "signed" and self.verifier is not None
        return Grant(key_id, frozenset(SCOPES)) if known else None

    def fingerprint(self, kind: str, key_id: str) -> str:
        """Return what changes when a credential is replaced by another of the same id."""
        if kind == "token":
            return hashlib.sha256(self._token).hexdigest()
        if kind == "key":
            return self.keyring.digest_of(key_id)
        issuer = self.verifier.issuer if self.verifier is not None else None
        return f"{issuer.issuer} {issuer.audience}" if issuer else ""


def _needed(names: Names) -> str:
    if names:
        return f"No key has the subject of this certificate, {' or '.join(names)[:300]}."
    return "A bearer token is needed."


def _sent(authorization: bytes) -> bytes:
    """Take the key out of an Authorization header.

    Bearer (RFC 6750), or Basic (RFC 7617) with the key as password: browsers cannot send a bearer
    token, but ask for a password.
    """
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
