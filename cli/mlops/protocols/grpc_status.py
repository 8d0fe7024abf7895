"""gRPC statuses of the kinds of error.

Source: `doc/statuscodes.md` of grpc/grpc and, for which of them may be tried again, the comments of
`google/rpc/code.proto`.
"""

from __future__ import annotations

from mlops.protocols.base import Kind

_STATUSES = {
    Kind.MALFORMED: "INVALID_ARGUMENT",
    Kind.MISMATCH: "INVALID_ARGUMENT",
    Kind.UNKNOWN_MODEL: "NOT_FOUND",
    Kind.SLOW_BODY: "DEADLINE_EXCEEDED",
    Kind.TOO_LARGE: "RESOURCE_EXHAUSTED",
    Kind.UNSUPPORTED_MEDIA: "UNIMPLEMENTED",
    Kind.MODEL_FAILED: "INTERNAL",
    Kind.UPSTREAM: "UNAVAILABLE",
    Kind.NOT_READY: "UNAVAILABLE",
    Kind.BUSY: "UNAVAILABLE",
    Kind.DEADLINE: "DEADLINE_EXCEEDED",
    Kind.DISK_FULL: "RESOURCE_EXHAUSTED",
    Kind.UNAUTHENTICATED: "UNAUTHENTICATED",
    Kind.FORBIDDEN: "PERMISSION_DENIED",
    Kind.TOO_MANY: "RESOURCE_EXHAUSTED",
}


def grpc_status(kind: Kind) -> str:
    """Return the name of the gRPC status that says `kind`.

    >>> grpc_status(Kind.BUSY)
    'UNAVAILABLE'
    """
    return _STATUSES[kind]
