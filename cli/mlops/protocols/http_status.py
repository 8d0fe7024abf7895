"""HTTP statuses of the kinds of error (RFC 9110, section 15; 429 is RFC 6585, 507 RFC 4918)."""

from __future__ import annotations

from mlops.protocols.base import Kind

_STATUSES = {
    Kind.MALFORMED: 400,
    Kind.MISMATCH: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.UNKNOWN_MODEL: 404,
    Kind.SLOW_BODY: 408,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED_MEDIA: 415,
    Kind.TOO_MANY: 429,
    Kind.MODEL_FAILED: 500,
    Kind.UPSTREAM: 502,
    Kind.NOT_READY: 503,
    Kind.BUSY: 503,
    Kind.DEADLINE: 504,
    Kind.DISK_FULL: 507,
}


def http_status(kind: Kind) -> int:
    """Return the HTTP status in [400, 599] that says `kind`.

    The journal and the metrics use it for every transport.

    >>> http_status(Kind.BUSY)
    503
    """
    return _STATUSES[kind]
