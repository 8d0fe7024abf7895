"""One job at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mlops.errors import ConflictError, InvalidInputError

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@contextlib.contextmanager
def claimed(folder: Path, *, private: bool = False) -> Iterator[None]:
    """Keep other jobs out of a folder, which is created if need be, until the block ends.

    The kernel lets others in however this process ends. On a file system without locks nobody is
    kept out.

    Args:
        folder: Where parts go, as it is named: a path without its links hides one.
        private: Whether it must be this user's own: in a folder where others may write, they could
            put parts there, or a link.

    Raises:
        ConflictError: Another job writes there.
        InvalidInputError: It is to be private, and is another user's, open to others, or a link.
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
        descriptor = _opened(folder, private=private)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ConflictError(
                f"Another `mlops batch` writes to `{folder}` now.",
                hint="Wait for it, or choose another `--out`.",
            ) from None
        except OSError:
            # A file system without locks.
            pass
        if _is_there(folder, descriptor):
            return descriptor
        # A job that has finished removed it in the meantime.
        os.close(descriptor)


def _is_there(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


def _opened(folder: Path, *, private: bool) -> int:
    try:
        folder.mkdir(mode=0o700 if private else 0o777, parents=True)
        was_there = False
    except FileExistsError:
        was_there = True
    if private and folder.is_symlink():
        raise _not_own(folder, "is a link")
    descriptor = os.open(folder, _OPEN | (os.O_NOFOLLOW if private else 0))
    found = os.fstat(descriptor)
    why = ""
    if found.st_uid != os.geteuid():
        why = "is another user's"
    elif was_there and found.st_mode & _OF_OTHERS:
        # Where a file system has one mode for all, a new folder has it, too.
        why = "lets others write"
    if private and why:
        os.close(descriptor)
        raise _not_own(folder, why)
    return descriptor


def _not_own(folder: Path, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{folder}`, where parts are to be kept for the time being, {why}.",
        hint="Remove it, or choose another `--out`, in a folder where only you may write.",
    )
