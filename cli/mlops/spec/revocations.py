"""What certificate revocation lists say of themselves: whose they are, and until when."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops.spec.pem import blocks

# Lists may be written daily or monthly: due is the last fifth of one's life, at most three days.
_DUE, _DUE_AT_MOST = 5, timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Revocations:
    """Lists of revoked certificates.

    Attributes:
        unlisted: Authorities without a list, of whose certificates none is accepted.
        until: Authority, time at which a warning is due, and time after which it admits nobody.
    """

    unlisted: Sequence[str] = field(default=())
    until: Sequence[tuple[str, datetime, datetime]] = field(default=())

    def faults(self, now: datetime) -> list[str]:
        """Say why callers are refused whatever certificate they have."""
        return [
            *(
                f"`{name}` has no revocation list: its callers are refused."
                for name in self.unlisted
            ),
            *(
                f"The revocation list of `{name}` is out of date since {end:%Y-%m-%d %H:%M} UTC: "
                "its callers are refused."
                for name, _, end in self.until
                if end <= now
            ),
        ]

    def warnings(self, now: datetime) -> list[str]:
        """Return the faults, and which lists must be written again soon."""
        soon = (
            f"The revocation list of `{name}` ends {end:%Y-%m-%d %H:%M} UTC: from then on its "
            "callers are refused, unless there is a new one."
            for name, due, end in self.until
            if due <= now < end
        )
        return [*self.faults(now), *soon]


def read_revocations(context: ssl.SSLContext, path: str) -> Revocations:
    """Read the lists in a file against the authorities that a context has loaded."""
    # MLflow brings it; a server without lists does not pay for it.
    from cryptography import x509

    lists, authorities = [], []
    # OpenSSL has read them all; what another parser refuses is not judged here.
    for text in blocks(Path(path).read_bytes(), "X509 CRL"):
        with contextlib.suppress(ValueError):
            crl = x509.load_pem_x509_crl(text)
            lists.append((crl.issuer, crl.last_update_utc, crl.next_update_utc))
    for der in context.get_ca_certs(binary_form=True):
        with contextlib.suppress(ValueError):
            certificate = x509.load_der_x509_certificate(der)
            authorities.append((certificate.subject, certificate.issuer))
    listed = {issuer for issuer, _, _ in lists}
    known = {subject for subject, _ in authorities}
    # A root above an authority in the file may issue no caller; and lists of authorities that
    # are not in it belong to those whose certificates the callers send.
    above = {issuer for subject, issuer in authorities if issuer != subject}
    unlisted = known - listed - above if listed <= known else set()
    return Revocations(
        tuple(sorted(name.rfc4514_string() for name in unlisted)),
        tuple(
            (issuer.rfc4514_string(), _due(begin, end), end)
            for issuer, begin, end in lists
            if end is not None
        ),
    )


def _due(begin: datetime, end: datetime) -> datetime:
    return end - min((end - begin) / _DUE, _DUE_AT_MOST)


def now() -> datetime:
    """Return the time to compare with."""
    return datetime.now(UTC)
