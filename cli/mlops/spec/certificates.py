"""Until when certificates are accepted."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mlops.spec.pem import blocks

_NO_OTHER_PATH = "callers that find no CA they trust without it do not connect"
_NO_OTHER_CA = "its callers are refused, unless another CA certificate in the file is for their CA"
_DAY = "%Y-%m-%d %H:%M"
# Tools renew after two thirds of a certificate's life: what is left then is a month of three.
_DUE, _DUE_AT_MOST = 5, timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a certificate is accepted.

    Attributes:
        name: Its subject.
        begin: From when on.
        end: Until when.
    """

    name: str
    begin: datetime
    end: datetime

    def fault(self, now: datetime) -> str:
        """Say why it is not accepted at a time; empty if it is."""
        if now < self.begin:
            return f"is valid only from {self.begin:{_DAY}} UTC on"
        return f"has expired {self.end:{_DAY}} UTC" if self.end <= now else ""

    def is_due(self, now: datetime) -> bool:
        """Whether it should be renewed: in the last fifth of its life, at most two weeks."""
        return self.end - min((self.end - self.begin) / _DUE, _DUE_AT_MOST) <= now < self.end


@dataclass(frozen=True, slots=True)
class Certificates:
    """Certificates of a server, and of the authorities of its callers.

    Attributes:
        own: The server's, and after it those by which callers find a CA that they trust.
        authorities: CAs of callers.
    """

    own: Sequence[Lifetime] = ()
    authorities: Sequence[Lifetime] = ()

    def faults(self, now: datetime) -> list[str]:
        """Say why callers fail whatever certificate they have."""
        authorities = () if self._has_authority(now) else self.authorities
        return [
            *_told("certificate", "callers that check it do not connect", self.own[:1], now),
            *_told("CA certificate", "its callers are refused", authorities, now),
        ]

    def warnings(self, now: datetime) -> list[str]:
        """Return the faults, and which certificates end soon, or may be missed.

        Bundles of CAs and chains often keep one that has expired beside its successor.
        """
        authorities = self.authorities if self._has_authority(now) else ()
        others = [
            *_told("certificate", _NO_OTHER_PATH, self.own[1:], now),
            *_told("CA certificate", _NO_OTHER_CA, authorities, now),
        ]
        soon = (
            f"The certificate `{each.name}` ends {each.end:{_DAY}} UTC: renew it."
            for each in (*self.own, *self.authorities)
            if each.is_due(now)
        )
        return [*self.faults(now), *others, *soon]

    def _has_authority(self, now: datetime) -> bool:
        return any(not each.fault(now) for each in self.authorities)


def _told(what: str, then: str, lifetimes: Sequence[Lifetime], now: datetime) -> list[str]:
    faults = [(each.name, each.fault(now)) for each in lifetimes]
    return [f"The {what} `{name}` {fault}: {then}." for name, fault in faults if fault]


def read_certificates(cert: str, client_ca: str = "") -> Certificates:
    """Read when the certificates in two files are accepted; the second may be missing."""
    return Certificates(_lifetimes(cert), _lifetimes(client_ca) if client_ca else ())


def _lifetimes(path: str) -> tuple[Lifetime, ...]:
    # MLflow brings it; a server without TLS does not pay for it.
    from cryptography import x509

    found = []
    # OpenSSL has read them all; what another parser refuses is not judged here.
    for text in blocks(Path(path).read_bytes(), "CERTIFICATE"):
        with contextlib.suppress(ValueError):
            read = x509.load_pem_x509_certificate(text)
            begin, end = read.not_valid_before_utc, read.not_valid_after_utc
            found.append(Lifetime(read.subject.rfc4514_string(), begin, end))
    return tuple(found)
