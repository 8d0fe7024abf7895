"""Addresses of this machine, which in a pod are the pod itself."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_NAMES = ("localhost", "0.0.0.0")  # noqa: S104 - found, not bound


def is_loopback(address: str) -> bool:
    """Whether a URL, or `host:port`, leads back to who calls it.

    >>> is_loopback("http://127.0.0.1:5000"), is_loopback("localhost:9092"), is_loopback("[::1]:80")
    (True, True, True)
    >>> is_loopback("http://mlflow.shop:5000"), is_loopback("s3://bucket/path"), is_loopback("")
    (False, False, False)
    """
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    except ValueError:
        return False
    if host in _NAMES or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_block(block: str) -> bool:
    """Whether all addresses of a CIDR block lead back to who calls them.

    >>> is_loopback_block("127.0.0.0/8"), is_loopback_block("::1/128")
    (True, True)
    >>> is_loopback_block("0.0.0.0/0"), is_loopback_block("::/0"), is_loopback_block("any")
    (False, False, False)
    """
    try:
        return ipaddress.ip_network(block, strict=False).is_loopback
    except ValueError:
        return False
