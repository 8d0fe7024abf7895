"""The token that callers must send, where a deployment has one."""

from __future__ import annotations

import base64
import binascii
import hmac


class Token:
    """Says who may call.

    Browsers cannot send a bearer token by themselves, but they ask for a password: any user name
    with the token as password.

    Args:
        token: What every caller must send; empty if anybody may call.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def admits(self, authorization: bytes) -> bool:
        """Whether a caller may call who sends this in the header, or metadata, `authorization`."""
        return not self._token or hmac.compare_digest(_sent(authorization), self._token)


def _sent(authorization: bytes) -> bytes:
    """Take the token out of an Authorization header, Bearer (RFC 6750) or Basic (RFC 7617)."""
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
