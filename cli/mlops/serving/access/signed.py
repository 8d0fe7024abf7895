"""Signed tokens (JWT, RFC 7519) of one issuer, checked by PyJWT as RFC 8725 advises.

No claim of a token on itself is trusted: the algorithms are pinned by the settings, a key counts
for the algorithms of its own type only, and it is found by its id among the issuer's, never by an
address or a key in the token (`jku`, `x5u`, `jwk`). So a token without a signature, and one signed
by HMAC with the public key as secret, are refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import jwt

from mlops.errors import InvalidInputError, one_of
from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access.grants import Grant, expand
from mlops.spec.access import SCOPES, Issuer, Scope, check_issuer

_LOG = logging.getLogger(__name__)
# Longer ones cost time to read and fit into no header of most servers.
_MAX_TOKEN = 8_192
_MAX_KID = 256
_MAX_KEY_ID = 64
_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class Verifier:
    """Checks tokens with the keys that its owner gives it. Lives on one event loop.

    Args:
        issuer: Whose tokens count.

    Raises:
        InvalidInputError: The settings would admit tokens that any client can make.
    """

    def __init__(self, issuer: Issuer) -> None:
        check_issuer(issuer)
        self.issuer = issuer
        #: Whether a token named a key that is not known; its owner then asks the issuer.
        self.misses = False
        self._keys: dict[tuple[str, str], Any] = {}
        self._loaded = False

    def load(self, text: bytes) -> bool:
        """Take the keys of a JWKS document (RFC 7517); return whether they changed.

        Raises:
            InvalidInputError: It has no key that could be used; the previous ones stay valid.
        """
        keys = dict(_usable(_documents(text), self.issuer.algorithms))
        if not keys:
            raise InvalidInputError(
                f"`{self.issuer.jwks}` has no key for {one_of(self.issuer.algorithms)}."
            )
        before, self._keys, self._loaded = self._keys, keys, True
        return {k: v.text for k, v in before.items()} != {k: v.text for k, v in keys.items()}

    def grant(self, token: bytes) -> Grant:
        """Check a token, and return what it grants.

        Raises:
            ProtocolError: `UNAUTHENTICATED`, or `NOT_READY` as long as no key is known.
        """
        if len(token) > _MAX_TOKEN:
            raise _refused(f"it has {len(token)} bytes, more than {_MAX_TOKEN}")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid", "")
            if "crit" in header:
                # No extension is understood here, and one of those has to be (RFC 7515, 4.1.11).
                raise _refused("it has a `crit`ical extension")
            if algorithm not in self.issuer.algorithms:
                raise _refused("its algorithm is not allowed here")
            claims = jwt.decode(
                token,
                self._key(kid, algorithm),
                algorithms=[algorithm],
                audience=self.issuer.audience,
                issuer=self.issuer.issuer,
                leeway=self.issuer.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
            return self._granted(claims)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise _refused(str(error)[:200] or type(error).__name__) from error

    def _key(self, kid: object, algorithm: str) -> Any:  # noqa: ANN401 - whatever the token says
        if not self._loaded:
            self.misses = True
            raise ProtocolError(
                Kind.NOT_READY, "The keys of the tokens' issuer are not known yet; try again."
            )
        if not isinstance(kid, str) or len(kid) > _MAX_KID:
            raise _refused("its `kid` is not the id of a key")
        named = self._keys.get((kid, algorithm))
        if not kid and named is None:
            # An issuer with one key need not name it.
            fitting = [key for (_, each), key in self._keys.items() if each == algorithm]
            named = fitting[0] if len(fitting) == 1 else None
        if named is None:
            self.misses = True
            raise _refused("its issuer has no such key")
        return named.key

    def _granted(self, claims: Mapping[str, Any]) -> Grant:
        caller = claims.get("azp") or claims.get("client_id") or claims.get("sub") or "unknown"
        until = claims["exp"] + self.issuer.leeway_s
        return Grant(_id_of(f"{caller}"), expand(self._scopes(claims)), until)

    def _scopes(self, claims: Mapping[str, Any]) -> list[Scope]:
        found: Any = claims
        if self.issuer.scope_claim in claims:
            found = claims[self.issuer.scope_claim]
        else:
            for part in self.issuer.scope_claim.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
        names = found.split() if isinstance(found, str) else found
        prefix = self.issuer.scope_prefix
        said = {f"{each}" for each in names} if isinstance(names, list) else set()
        return [scope for scope in SCOPES if prefix + scope in said]


def _id_of(caller: str) -> str:
    """Return the name of a caller in the journal: short printable text.

    One that has to be changed for that ends in its hash, so that no two callers have the same id.
    """
    whole = f"jwt:{caller}"
    told = "".join(char if char.isprintable() else "?" for char in whole)
    if told == whole and len(whole) <= _MAX_KEY_ID:
        return whole
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{told[: _MAX_KEY_ID - 17]}~{digest}"


class _Loaded:
    """A public key, and the text that it was made from."""

    def __init__(self, key: object, text: str) -> None:
        self.key = key
        self.text = text


def _documents(text: bytes) -> list[dict[str, Any]]:
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInputError("The issuer's answer is not a JWKS document.") from error
    return [each for each in keys if isinstance(each, dict)] if isinstance(keys, list) else []


def _usable(
    documents: Iterable[dict[str, Any]], algorithms: Iterable[str]
) -> Iterable[tuple[tuple[str, str], _Loaded]]:
    """Give every key for each algorithm it may be used with; a shared secret is not a key."""
    for document in documents:
        kid, use = document.get("kid", ""), document.get("use", "sig")
        for algorithm in algorithms:
            fits = document.get("kty") == _TYPES[algorithm[:2]]
            if not fits or use != "sig" or document.get("alg", algorithm) != algorithm:
                continue
            try:
                key = jwt.PyJWK(document, algorithm).key
            except (jwt.PyJWTError, ValueError, TypeError) as error:
                _LOG.warning("auth: the issuer's key %.40r cannot be used: %s", kid, error)
                continue
            public = {k: v for k, v in document.items() if k not in ("d", "p", "q")}
            yield (str(kid), algorithm), _Loaded(key, json.dumps(public, sort_keys=True))


def _refused(why: str) -> ProtocolError:
    return ProtocolError(Kind.UNAUTHENTICATED, f"The token is refused: {why}.")
