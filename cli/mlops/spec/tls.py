"""TLS contexts of servers, from files in PEM."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mlops.errors import InvalidInputError, UsageError
from mlops.spec.access import Tls
from mlops.spec.certificates import Certificates, read_certificates
from mlops.spec.revocations import Revocations, now, read_revocations

# The longest lists that authorities publish have some ten megabytes.
_MAX_BYTES = 64 * 1024 * 1024
# OpenSSL compares each list with all others of its authority: 2.5 s for 8,000.
_MAX_LISTS = 2_000
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Validity:
    """Until when the files of a server are accepted, and admit callers."""

    certificates: Certificates = field(default_factory=Certificates)
    revocations: Revocations = field(default_factory=Revocations)

    @property
    def until(self) -> datetime:
        """When the first of them ends; far away for none that do."""
        own, authorities = self.certificates.own, self.certificates.authorities
        ends = [each.end for each in (*own, *authorities)]
        return min([*ends, *(end for *_, end in self.revocations.until)], default=_NEVER)

    def faults(self) -> list[str]:
        """Say what keeps callers out now."""
        return [*self.certificates.faults(now()), *self.revocations.faults(now())]

    def warnings(self) -> list[str]:
        """Return the faults, and what must be renewed soon."""
        return [*self.certificates.warnings(now()), *self.revocations.warnings(now())]


def read_validity(tls: Tls) -> tuple[ssl.SSLContext, Validity]:
    """Return the TLS context of a server, and until when its files are accepted.

    Raises:
        InvalidInputError: As `server_context`.
    """
    context = server_context(tls)
    lists = read_revocations(context, tls.client_crl) if tls.client_crl else Revocations()
    return context, Validity(read_certificates(tls.cert, tls.client_ca), lists)


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS context of a server.

    TLS 1.2 and 1.3 with the ciphers of Python's defaults (RFC 9325). With `client_ca` no caller
    without a certificate of it is accepted, and with `client_crl` none whose certificate its
    authority has revoked. With a list that is out of date every client is refused.

    Raises:
        InvalidInputError: The files are not a certificate with its key, or no authority's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # No renegotiation, no compression.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    for path in (tls.cert, tls.key, *(each for each in (tls.client_ca, tls.client_crl) if each)):
        _check_readable(path)
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise InvalidInputError(
            f"`{tls.cert}` and `{tls.key}` are not a certificate with its key: {error}.",
            hint="Both are PEM; a key with a password cannot be used.",
        ) from error
    if tls.client_ca:
        try:
            context.load_verify_locations(cafile=tls.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise InvalidInputError(
                f"`{tls.client_ca}` holds no certificate of an authority: {error}."
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
        # A ticket would admit a caller whose certificate is not checked again.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    if tls.client_crl:
        _add_revocations(context, tls.client_crl)
    return context


def _add_revocations(context: ssl.SSLContext, path: str) -> None:
    """Refuse certificates that a list names as revoked, or whose authority has no list."""
    authorities = context.cert_store_stats()["x509"]
    if Path(path).read_bytes().count(b"-----END ") > _MAX_LISTS:
        raise InvalidInputError(f"`{path}` holds more than {_MAX_LISTS:,} lists.")
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise InvalidInputError(
            f"`{path}` holds no certificate revocation list: {error}."
        ) from error
    if not context.cert_store_stats()["crl"]:
        raise InvalidInputError(f"`{path}` holds no certificate revocation list.")
    # Lists are signed, so they are fetched without protection; a certificate among them would be
    # trusted as an authority.
    if context.cert_store_stats()["x509"] > authorities:
        raise InvalidInputError(
            f"`{path}` holds a certificate that is not in the file of the authorities.",
            hint="Only revocation lists belong into it.",
        )
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def check_tls(tls: Tls) -> None:
    """Check that a server can start with these files, and that it does not refuse all callers.

    Raises:
        InvalidInputError: It cannot, or an authority of callers has no list that is in force.
    """
    faults = read_validity(tls)[1].revocations.faults(now())
    if faults:
        raise InvalidInputError(
            f"`{tls.client_crl}`: {' '.join(faults)}",
            hint="Put the current list of each authority into it (`openssl ca -gencrl`).",
        )


def check_revocable(tls: Tls | None, grpc_port: int) -> None:
    """Check that no port admits callers whose certificates are revoked.

    Raises:
        UsageError: gRPC's would.
    """
    if grpc_port and tls and tls.client_crl:
        raise UsageError(
            "gRPC's library reads no revocation lists, so its port would admit revoked callers.",
            hint="Leave `--grpc-port` or `--tls-client-crl` out; what the last start had stays "
            "unless you `--reset grpc-port` or `--reset tls`.",
        )


def own_client_context(tls: Tls) -> ssl.SSLContext:
    """Return the context by which a command checks a server of this machine: its own certificate.

    The name in it is the one that callers use, which need not be this machine's.
    """
    context = ssl.create_default_context(cafile=tls.cert)
    context.check_hostname = False
    # The file may hold no authority, but the server's own certificate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _check_readable(path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise InvalidInputError(f"`{path}` cannot be read: {error.strerror}.") from error
    if size > _MAX_BYTES:
        raise InvalidInputError(
            f"`{path}` has {size >> 20} MiB; at most {_MAX_BYTES >> 20} MiB are read."
        )


def _no_password() -> str:
    raise ValueError("the key has a password")
