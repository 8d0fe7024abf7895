"""Signing in to the live page: a cookie that lets a browser read it, and nothing else.

The cookie holds no key and no token. It names the credentials it was given for, until when it
counts, and a keyed hash (HMAC, RFC 2104) of both that only the servers of this deployment can make;
so it needs no memory, and holds at every worker and replica. It expires with its key, which is
looked up again for each request.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from http.cookies import CookieError, SimpleCookie

from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access.gate import Gate, Names
from mlops.serving.access.grants import Grant
from mlops.spec.access import Scope

#: Seconds for which a browser stays signed in.
LASTS_S = 12 * 3600
_SCOPE: Scope = "read"


class Sessions:
    """Makes and reads the cookies of one deployment.

    Args:
        gate: Says who may read.
        key: The deployment's key.
        name: Name of the deployment.
    """

    def __init__(self, gate: Gate, key: bytes, name: str) -> None:
        self._gate = gate
        self._key = hashlib.blake2b(b"live page", key=key, digest_size=32).digest()
        # Servers at other ports of a host share its cookies (RFC 6265, section 8.5).
        self.cookie = f"mlops-ui-{name}"

    def begin(self, credential: str, names: Names = ()) -> str:
        """Return the value of the cookie for a key or token.

        Raises:
            ProtocolError: It is not known, or may not read.
        """
        sent = credential.strip().encode()
        grant = self._gate.admit(b"Bearer " + sent, _SCOPE, names)
        until = int(min(time.time() + LASTS_S, grant.until))
        who = f"{self._gate.kind_of(sent)}:{grant.key_id or ''}"
        return self._sealed(f"{until}.{_encoded(who)}", who)

    def grant(self, cookies: str) -> Grant | None:
        """Return what the cookie among these allows; None if there is none that counts.

        Args:
            cookies: The header of that name.

        Raises:
            ProtocolError: The key has sent too many requests.
        """
        try:
            morsel = SimpleCookie(cookies).get(self.cookie)
            if morsel is None:
                return None
            until, encoded, _ = morsel.value.split(".")
            who = urlsafe_b64decode(encoded).decode()
            expires = int(until)
        except (CookieError, ValueError):
            return None
        sealed = self._sealed(f"{until}.{encoded}", who)
        if not hmac.compare_digest(sealed, morsel.value) or expires <= time.time():
            return None
        kind, _, key_id = who.partition(":")
        found = self._gate.grant_of(kind, key_id)
        if found is None or _SCOPE not in found.scopes:
            return None
        return replace(found, scopes=frozenset({_SCOPE}), until=min(found.until, expires))

    def _sealed(self, text: str, who: str) -> str:
        kind, _, key_id = who.partition(":")
        secret = self._gate.fingerprint(kind, key_id)
        tag = hmac.new(self._key, f"{text}.{secret}".encode(), hashlib.sha256).digest()
        return f"{text}.{urlsafe_b64encode(tag).decode()}"


def unauthenticated() -> ProtocolError:
    """Return the refusal of a browser that is not signed in."""
    return ProtocolError(Kind.UNAUTHENTICATED, "Sign in to see this page.")


def _encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode()
