"""What a caller was granted."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access.buckets import Bucket
from mlops.serving.access.required_scopes import Need
from mlops.spec.access import SCOPES, Scope


class TooManyRequestsError(ProtocolError):
    """A key has sent more than it may.

    Args:
        wait_s: Seconds after which the next request is taken.
    """

    def __init__(self, wait_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(wait_s))
        super().__init__(
            Kind.TOO_MANY, f"This key has used up its rate; try again in {self.retry_after_s} s."
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """Whose credentials a call came with, and what they allow.

    Attributes:
        key_id: Id of the key, or of a token's client; None if anonymous. Never the key.
        scopes: What it may do, `admin` written out.
        until: When it expires, seconds since 1970 in UTC.
        bucket: Counts its requests; None where there is no limit.
        may_force: Whether it may choose the arm.
        is_limited: Whether it may expire or run out of requests.
    """

    key_id: str | None
    scopes: frozenset[Scope]
    until: float = math.inf
    bucket: Bucket | None = None
    may_force: bool = field(init=False)
    is_limited: bool = field(init=False)

    def __post_init__(self) -> None:
        # Once, as these are asked with each request.
        object.__setattr__(self, "may_force", "force-arm" in self.scopes)
        is_limited = self.bucket is not None or self.until != math.inf
        object.__setattr__(self, "is_limited", is_limited)

    def check(self, need: Need) -> None:
        """Check that it is still valid, and for this.

        Raises:
            ProtocolError: `UNAUTHENTICATED` if it has expired, `FORBIDDEN` if it is not enough.
        """
        if self.until <= time.time():
            raise ProtocolError(Kind.UNAUTHENTICATED, "The key or token has expired.")
        if need not in ("open", "any") and need not in self.scopes:
            has = ", ".join(sorted(self.scopes)) or "no scope"
            raise ProtocolError(
                Kind.FORBIDDEN, f"This needs the scope `{need}`; the key or token has: {has}."
            )

    def spend(self) -> None:
        """Count one request.

        Raises:
            TooManyRequestsError: There were too many.
        """
        if self.bucket is not None and (wait_s := self.bucket.take(time.monotonic())) > 0:
            raise TooManyRequestsError(wait_s)


def expand(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """Write `admin` out."""
    found = frozenset(scopes)
    return frozenset(SCOPES) if "admin" in found else found


#: Of a server without authentication. Scoring has no rate limits of its own.
ANYBODY = Grant(None, frozenset(SCOPES) - {"admin", "score", "requests"})
#: Of one that only its own machine can reach: its developer looks at requests.
ANYBODY_HERE = Grant(None, ANYBODY.scopes | {"requests"})
