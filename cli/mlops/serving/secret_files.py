"""Files with secrets: the callers' token, and the key of request ids."""

from __future__ import annotations

from pathlib import Path

from mlops.errors import InvalidInputError
from mlops.spec.request_id import KEY_BYTES


def read_token(path: str) -> str:
    """Read the token that callers must send; empty for none.

    Raises:
        InvalidInputError: It cannot be read, or is too short.
    """
    if not path:
        return ""
    token = _read(path).decode("utf-8", "replace").strip()
    if len(token) < 16:
        raise InvalidInputError(f"The token in `{path}` is too short; use 16 characters or more.")
    return token


def read_key(path: str) -> bytes:
    """Read the key that tags request ids.

    Raises:
        InvalidInputError: It cannot be read, or has another length.
    """
    key = _read(path)
    if len(key) != KEY_BYTES:
        raise InvalidInputError(f"The key in `{path}` has {len(key)} bytes, not {KEY_BYTES}.")
    return key


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"`{path}` cannot be read: {error.strerror}.") from error
