"""Keeping secrets out of prints and files, and reading those that are only referred to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from mlops.errors import InvalidInputError

#: Said to who writes a credential where only its source belongs.
NO_SECRETS = (
    "settings name where credentials are and never hold one. Set "
    '`credentials = "environment"`, `"profile:NAME"` or `"file:PATH"` of [artifacts]'
)

# A secret may hold a slash, which ends the host for who reads a URI by the book.
_PASTED = re.compile(r"://([^/@]*@|[^@]*:[^@]*@)")
_SECRET_NAME = re.compile(r"secret|password|passwd|token|(access|api|private)[-_]?key", re.I)
# Headers and parameters of a query, by names that gateways use too: `Ocp-Apim-Subscription-Key`.
_CARRIER = re.compile(r"auth(?!ority)|cookie|key$|session|credential|^(code|sig|signature)$", re.I)
# As Amazon makes them: an id by its first letters, a secret by its length.
_ACCESS_KEY = re.compile(r"\b(AKIA|ASIA|AROA)[A-Z0-9]{12,}")
_LONG_RANDOM = re.compile(r"[A-Za-z0-9/+=_-]{32,}")
_USERINFO = re.compile(r"(?<=://)[^/\s]*@")
_PASSWORD = re.compile(r"(?<=[?&]password=)[^&\s]+")
_REFERENCE = re.compile(r"(env|file):(?!//)(.+)")


def without_credentials(text: str) -> str:
    """Return `text` with the `user:password@` of every URI in it left out.

    >>> without_credentials("postgresql://ann:secret@db/mlflow is down")
    'postgresql://db/mlflow is down'
    >>> without_credentials("postgresql://db/mlflow?password=secret&port=1")
    'postgresql://db/mlflow?password=***&port=1'
    """
    return _PASSWORD.sub("***", _USERINFO.sub("", text))


class SecretError(ValueError):
    """A value looks like a secret, or may be one, so it must not be printed."""


def names_a_secret(key: str) -> bool:
    """Whether a key with this name is meant for a credential.

    >>> names_a_secret("aws_secret_access_key"), names_a_secret("DD-API-KEY")
    (True, True)
    >>> names_a_secret("region")
    False
    """
    return bool(_SECRET_NAME.search(key))


def carries_a_secret(name: str) -> bool:
    """Whether a header, or a parameter of a URL's query, with this name is for a credential.

    >>> carries_a_secret("X-Auth"), carries_a_secret("code"), carries_a_secret("X-Tenant")
    (True, True, False)
    """
    return names_a_secret(name) or bool(_CARRIER.search(name))


def credential_source(text: str) -> str:
    """Return `text` if it names a source of credentials.

    Raises:
        SecretError: It does not, or what it names looks like a credential.
    """
    source, _, name = text.partition(":")
    if text in ("", "environment"):
        return text
    if source not in ("profile", "file") or not name.strip() or _looks_secret(source, name):
        raise SecretError(f"is not a source of credentials: {NO_SECRETS}")
    return text


def without_secret_parts(text: str) -> str:
    """Return a path or URI.

    Raises:
        SecretError: A store's URI, or a server's, holds credentials.
    """
    scheme = text.partition("://")[0]
    if scheme in ("s3", "gs", "http", "https") and _PASTED.search(text):
        raise SecretError(f"holds credentials: {NO_SECRETS}")
    return text


def _looks_secret(source: str, name: str) -> bool:
    return bool(_ACCESS_KEY.search(name)) or (
        source == "profile" and bool(_LONG_RANDOM.fullmatch(name))
    )


def is_reference(text: str) -> bool:
    """Whether a setting says where its value is, as `env:VARIABLE` or `file:PATH`."""
    return _REFERENCE.fullmatch(text) is not None


def look_up(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return what a reference refers to; any other text is its own value.

    Args:
        text: `env:VARIABLE`, `file:PATH`, or the value.
        environ: The environment; `os.environ` by default.

    Raises:
        InvalidInputError: There is no such variable or file, or it is empty.

    >>> look_up("env:SHOP_DB", {"SHOP_DB": "sqlite:///shop.db"}), look_up("sqlite:///x.db")
    ('sqlite:///shop.db', 'sqlite:///x.db')
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return text
    kind, name = match.groups()
    try:
        value = (
            (os.environ if environ is None else environ).get(name, "")
            if kind == "env"
            else Path(name).read_text(encoding="utf-8")
        ).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidInputError(f"`{name}` cannot be read: {reason}.") from error
    if not value:
        where = "environment variable" if kind == "env" else "file"
        raise InvalidInputError(f"The {where} `{name}` is empty or not there.")
    return value
