"""One job at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mlops.errors import ConflictError, InvalidInputError

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINK = (errno.ELOOP, errno.ENOTDIR)


@contextlib.contextmanager
def claimed(folder: Path, *, private: bool = False) -> Iterator[None]:
    """Keep other jobs out of a folder, which is created if need be, until the block ends.

    The kernel lets others in however this process ends. On a file system without locks nobody is
    kept out.

    Args:
        folder: Where parts go.
        private: Whether it must be this user's own: in a folder where others may write, they could
            put parts there, or a link.

    Raises:
        ConflictError: Another job writes there.
        InvalidInputError: It is to be private, and is another user's or a link.
    """
    was_there = folder.exists()
    descriptor = _locked(folder, private=private)
    try:
        yield
    finally:
        if not was_there:
            # Unless there is something in it.
            with contextlib.suppress(OSError):
                folder.rmdir()
        os.close(descriptor)


def _locked(folder: Path, *, private: bool) -> int:
    while True:
        folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
        descriptor = _opened(folder, private=private)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise ConflictError(
                f"Another `mlops batch` writes to `{folder}` now.",
                hint="Wait for it, or choose another `--out`.",
            ) from None
        except OSError:
            return descriptor
        # A job that has finished removed it in the meantime.
        os.close(descriptor)


def _opened(folder: Path, *, private: bool) -> int:
    try:
        descriptor = os.open(folder, _OPEN | (os.O_NOFOLLOW if private else 0))
    except OSError as error:
        if private and error.errno in _LINK:
            raise _not_own(folder, "is a link") from error
        raise
    if private and os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise _not_own(folder, "is another user's")
    return descriptor


def _not_own(folder: Path, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{folder}`, where parts are to be kept for the time being, {why}.",
        hint="Choose another `--out`, in a folder where only you may write.",
    )
