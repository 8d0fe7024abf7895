"""Keeping secrets out of what we print."""

from __future__ import annotations

import re

#: Said to who writes a credential where only its source belongs.
NO_SECRETS = (
    "settings name where credentials are and never hold one. Set "
    '`credentials = "environment"`, `"profile:NAME"` or `"file:PATH"` of [artifacts]'
)

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_SECRET_NAME = re.compile(r"secret|password|passwd|token|access_key|api_key|private_key", re.I)
# As Amazon makes them: an id by its first letters, a secret by its length.
_ACCESS_KEY = re.compile(r"\b(AKIA|ASIA|AROA)[A-Z0-9]{12,}")
_LONG_RANDOM = re.compile(r"[A-Za-z0-9/+=_-]{32,}")


def without_credentials(text: str) -> str:
    """Return `text` with the `user:password@` of every URI in it left out.

    >>> without_credentials("postgresql://ann:secret@db/mlflow is down")
    'postgresql://db/mlflow is down'
    """
    return _USERINFO.sub("", text)


class SecretError(ValueError):
    """A value looks like a secret, or may be one, so it must not be printed."""


def names_a_secret(key: str) -> bool:
    """Whether somebody who writes this key means to give a credential.

    >>> names_a_secret("aws_secret_access_key"), names_a_secret("region")
    (True, False)
    """
    return bool(_SECRET_NAME.search(key))


def credential_source(text: str) -> str:
    """Return `text` if it names a source of credentials.

    Raises:
        SecretError: It does not, or what it names looks like a credential.
    """
    source, _, name = text.partition(":")
    if text in ("", "environment"):
        return text
    if source not in ("profile", "file") or not name.strip() or _looks_secret(source, name):
        raise SecretError(f"is no source of credentials: {NO_SECRETS}")
    return text


def without_secret_parts(text: str) -> str:
    """Return a path or URI.

    Raises:
        SecretError: A store's URI, or a server's, holds credentials.
    """
    scheme = text.partition("://")[0]
    if scheme in ("s3", "gs", "http", "https") and _USERINFO.search(text):
        raise SecretError(f"holds credentials: {NO_SECRETS}")
    return text


def _looks_secret(source: str, name: str) -> bool:
    return bool(_ACCESS_KEY.search(name)) or (
        source == "profile" and bool(_LONG_RANDOM.fullmatch(name))
    )
