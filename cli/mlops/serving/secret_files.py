"""Files with secrets: the callers' token, and the key of request ids."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mlops.errors import InvalidInputError
from mlops.spec.access import read_if_there
from mlops.spec.request_id import KEY_BYTES
from mlops.spec.server import Launch


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the files said when the server started: all its processes use that until it ends.

    Attributes:
        key: The key that tags request ids.
        token: The token that callers must send; empty for none.
    """

    key: bytes = field(repr=False)
    token: str = field(repr=False)

    @classmethod
    def of(cls, launch: Launch) -> Secrets:
        """Read the files of a launch.

        Raises:
            InvalidInputError: One cannot be read, or holds no key or token.
        """
        return cls(read_key(launch.key_file), read_token(launch.token_file))

    def warnings(self, launch: Launch) -> list[str]:
        """Say which files are gone or were replaced, which only a restart reads."""
        return [
            *_warnings("key", launch.key_file, self.key, read_key),
            *_warnings("token", launch.token_file, self.token, read_token),
        ]


# A start makes a token where there is none, and refuses to make a key.
_IF_GONE = {
    "key": "before a restart, which fails without.",
    "token": "before a restart, which makes another one: callers with this one are refused then.",
}


def _warnings(
    name: str, path: str, used: bytes | str, read: Callable[[str], bytes | str]
) -> list[str]:
    keeps = f"This server keeps using the previous {name} until it is restarted"
    try:
        if path and read_if_there(Path(path)) is None:
            text = f"`{path}`, the file of the {name}, is gone. This server still has the {name}; "
            return [f"{text}put the file back from a backup {_IF_GONE[name]}"]
        if read(path) != used:
            return [f"`{path}` was replaced. {keeps}."]
    except InvalidInputError as error:
        return [f"{error.message} {keeps}; mend the file before, as a start fails without."]
    return []


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
    content = read_if_there(Path(path))
    if content is None:
        raise InvalidInputError(f"`{path}` cannot be read: {os.strerror(errno.ENOENT)}.")
    return content
