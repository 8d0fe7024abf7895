"""The names in a client's certificate, which TLS has checked: `CN=…`, `DNS:…`, `URI:…`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Of certificates that are not a client's, but an authority's or a test's.
_MAX_NAMES = 16
# What an auth context calls the names, in the order in which those of TLS are returned.
_OF_GRPC = (("peer_dns", "DNS:"), ("peer_uri", "URI:"), ("x509_common_name", "CN="))


def names_of_tls(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the names in a certificate as `ssl.SSLSocket.getpeercert` gives it."""
    if not certificate:
        return ()
    common = [
        f"CN={value}"
        for parts in certificate.get("subject", ())
        for key, value in parts
        if key == "commonName"
    ]
    others = [
        f"{kind}:{value}"
        for kind, value in certificate.get("subjectAltName", ())
        if kind in ("DNS", "URI")
    ]
    return tuple((*others, *common)[:_MAX_NAMES]) or ("",)


def names_of_grpc(context: Any) -> tuple[str, ...]:  # noqa: ANN401 - of `grpc`
    """Return the names in the certificate of a call's peer."""
    found = context.auth_context()
    names = [
        f"{kind}{value.decode('utf-8', 'replace')}"
        for key, kind in _OF_GRPC
        for value in found.get(key, ())
    ]
    return tuple(names[:_MAX_NAMES]) or ("",)
