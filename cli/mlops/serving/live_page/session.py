"""Signing in to the live page: a cookie that lets a browser read it, and nothing else.

The cookie holds no key and no token. It names the credentials it was given for, what they allow
here, until when it counts, and a keyed hash (HMAC, RFC 2104) of all that only the servers of this
deployment can make; so it needs no memory, and holds at every worker and replica. It expires with
its key, which is looked up again for each request.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace

from starlette.requests import cookie_parser

from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access.gate import Gate, Names
from mlops.serving.access.grants import Grant
from mlops.spec.access import Scope

#: Seconds for which a browser stays signed in.
LASTS_S = 12 * 3600
#: Of the names of cookies; a deployment's name and eight letters follow.
PREFIX = "mlops-ui-"
_SCOPE: Scope = "read"
#: What a cookie carries of what its key allows.
_CARRIED: frozenset[Scope] = frozenset({_SCOPE, "requests", "score"})


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
        # Servers at other ports of a host share its cookies (RFC 6265, section 8.5), also those of
        # another project's deployment of this name.
        own = hashlib.blake2b(b"cookie of the live page", key=key, digest_size=4)
        self.cookie = f"{PREFIX}{name}-{own.hexdigest()}"

    def begin(self, credential: str, names: Names = ()) -> str:
        """Return the value of the cookie for a key or token.

        Raises:
            ProtocolError: It is not known, or may not read, or none is asked for here.
        """
        if not self._gate.required:
            # Any text is admitted then, and must not count once the server asks for keys.
            raise ProtocolError(Kind.FORBIDDEN, "This server asks for no key: open its page.")
        sent = credential.strip().encode()
        grant = self._gate.admit(b"Bearer " + sent, _SCOPE, names)
        until = int(min(time.time() + LASTS_S, grant.until))
        scopes = "+".join(sorted(_CARRIED & grant.scopes))
        kind, key_id = self._gate.kind_of(sent), grant.key_id or ""
        who = f"{kind}:{scopes}:{key_id}"
        return self._sealed(f"{until}.{_encoded(who)}", kind, key_id)

    def grant(self, cookies: str) -> Grant | None:
        """Return what the cookie among these allows; None if there is none that counts.

        Args:
            cookies: The header of that name.

        Raises:
            ProtocolError: The key has sent too many requests.
        """
        try:
            # The library's own parser gives up at the first one that is odd.
            value = cookie_parser(cookies)[self.cookie]
            until, encoded, _ = value.split(".")
            kind, scopes, key_id = urlsafe_b64decode(encoded).decode().split(":", 2)
            expires = int(until)
        except (KeyError, ValueError):
            return None
        sealed = self._sealed(f"{until}.{encoded}", kind, key_id)
        # As bytes, since whoever sends it chooses its letters.
        is_ours = hmac.compare_digest(sealed.encode(), value.encode())
        if not is_ours or expires <= time.time():
            return None
        found = self._gate.grant_of(kind, key_id)
        if found is None or _SCOPE not in found.scopes:
            return None
        held = _CARRIED & found.scopes & frozenset(scopes.split("+"))
        return replace(found, scopes=held, until=min(found.until, expires))

    def _sealed(self, text: str, kind: str, key_id: str) -> str:
        secret = self._gate.fingerprint(kind, key_id)
        tag = hmac.new(self._key, f"{text}.{secret}".encode(), hashlib.sha256).digest()
        return f"{text}.{urlsafe_b64encode(tag).decode()}"


def unauthenticated() -> ProtocolError:
    """Return the refusal of a browser that is not signed in."""
    return ProtocolError(Kind.UNAUTHENTICATED, "Sign in to see this page.")


def _encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode()
