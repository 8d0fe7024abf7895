"""What can go wrong, for users and for scripts.

    MlopsError                 1  failed
    ├── UsageError             2  the command was not called right
    ├── InvalidInputError      3  a file, a value or a setting is wrong
    ├── NotAllowedError        4  credentials missing or refused
    ├── NotFoundError          5  the named thing does not exist
    ├── RemoteError            6  a server or the network failed; trying again may help
    ├── ConflictError          7  another command or person changed it, or holds it
    └── WithheldError         13  a verdict must not be acted on

`message` says what happened with the offending value in it; `hint` says what to do. `__main__`
turns an error into an exit code, `serving` into an HTTP status; nothing else maps them. A
programmer's mistake is not an `MlopsError` and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable
from typing import ClassVar

_NO_MEMORY = re.compile(r"failed to map segment|[Cc]annot allocate memory|can't start new thread")
_OF_SYSTEM = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EEXIST,
        errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.EFBIG, errno.EIO,
    }
)  # fmt: skip
# As `tempfile` says it, also where all of them are full.
_NO_TEMPORARY = "No usable temporary directory"
#: What a write may meet, which does not say in which file.
_OF_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


# A server begins with it what a model said of rows that it does not take; clients know it by that.
MODEL_REFUSED = "The model refused the rows"
# And with this why a model failed on rows of which nothing is known to be wrong.
MODEL_FAILED = "The model failed"
#: Reason of an error whose message any caller may read: it names no address of ours.
PUBLIC = "public"


class MlopsError(Exception):
    """Something a user can understand and act upon.

    Args:
        message: What happened, with the offending value.
        hint: What to do about it, ideally a command to copy.
        reason: A word for programs, if one kind of error has several causes.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, hint: str | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason

    @property
    def hint(self) -> str | None:
        """What to do about it."""
        return self._hint

    @hint.setter
    def hint(self, hint: str | None) -> None:
        self._hint = hint
        # A program or a notebook shows the traceback, and a traceback shows notes.
        self.__notes__ = [hint] if hint else []


class UsageError(MlopsError):
    """The command line does not say what it must."""

    exit_code = 2
    code = "usage"


class InvalidInputError(MlopsError):
    """A file, value or setting fails its check; nothing was changed."""

    exit_code = 3
    code = "invalid"


class NotAllowedError(MlopsError):
    """Credentials are missing or were refused."""

    exit_code = 4
    code = "not_allowed"


class NotFoundError(MlopsError):
    """The named model, deployment, run or file does not exist."""

    exit_code = 5
    code = "not_found"


class RemoteError(MlopsError):
    """A server or the network failed; trying again may help."""

    exit_code = 6
    code = "remote"


class ConflictError(MlopsError):
    """Another command or person changed or holds the thing; look again before trying again."""

    exit_code = 7
    code = "conflict"


class WithheldError(MlopsError):
    """The evidence is decided, and a condition that it rests on does not hold."""

    exit_code = 13
    code = "withheld"


def of_system(error: Exception) -> MlopsError | None:
    """Return what an error of the system means to a user, None if it is a programmer's.

    A folder that cannot be written, a disk that is full, no memory left: no traceback helps there.

    >>> of_system(MemoryError()).message
    'There is not enough memory for this command.'
    >>> of_system(ImportError("a.so: failed to map segment from shared object")).exit_code
    1
    >>> of_system(OSError(errno.ENOSPC, "No space left on device")).message
    'A file cannot be written: no space left on device.'
    >>> of_system(ImportError("No module named 'a'"))
    """
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return MlopsError(
            "There is not enough memory for this command.",
            hint="Raise the limit (`ulimit -v`, the container's memory), or end something else.",
        )
    if isinstance(error, OSError) and _NO_TEMPORARY in str(error):
        return InvalidInputError(
            "No folder for temporary files can be written.",
            hint="Free space in `/tmp`, or set `TMPDIR` to a folder with space.",
            reason="file",
        )
    if not isinstance(error, OSError) or error.errno not in _OF_SYSTEM:
        return None
    reason = error.strerror or os.strerror(error.errno)
    if not error.filename:
        return _of_disk(reason) if error.errno in _OF_DISKS else None
    return InvalidInputError(
        f"`{os.fsdecode(error.filename)}` cannot be used: {reason[:1].lower()}{reason[1:]}.",
        hint="Use a folder that you may write, on a disk with space; `mlops doctor` checks it."
        if error.errno != errno.EMFILE
        else "Raise the limit of open files: `ulimit -n`.",
        reason="file",
    )


def _of_disk(reason: str) -> MlopsError:
    return InvalidInputError(
        f"A file cannot be written: {reason[:1].lower()}{reason[1:]}.",
        hint="`df -h` shows which disk is full; `ulimit -f` and `quota` show other limits. "
        "Then run the command again.",
        reason="file",
    )


def unreadable(path: object, error: Exception) -> MlopsError:
    """Return the error for a file that cannot be read: exit code 5 if it is not there, else 3.

    >>> unreadable("a.csv", FileNotFoundError(2, "No such file or directory", "a.csv")).exit_code
    5
    >>> unreadable("a.csv", PermissionError(13, "Permission denied")).message
    '`a.csv` cannot be read: permission denied.'
    """
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"There is no file `{path}`.")
    reason = (error.strerror or "") if isinstance(error, OSError) else str(error)
    return InvalidInputError(f"`{path}` cannot be read: {reason[:1].lower()}{reason[1:]}.")


def kind_of(*, code: str = "", exit_code: int = 0) -> type[MlopsError]:
    """Return the kind of error that another mlops process names, `MlopsError` if unknown.

    >>> kind_of(exit_code=7).__name__, kind_of(code="invalid").__name__
    ('ConflictError', 'InvalidInputError')
    """
    for kind in MlopsError.__subclasses__():
        if code == kind.code or exit_code == kind.exit_code:
            return kind
    return MlopsError


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to `name`, as a hint sentence.

    >>> did_you_mean("alhpa", ["alpha", "l1_ratio"])
    'Did you mean `alpha`?'
    >>> did_you_mean("l1", ["alpha", "l1_ratio"])
    'Did you mean `l1_ratio`?'
    >>> did_you_mean("storageURI", ["storage", "storageUri"])
    'Did you mean `storageUri`?'
    >>> did_you_mean("x", ["alpha"]) is None
    True
    """
    folded = {each.casefold(): each for each in known}
    wanted = name.casefold()
    close = difflib.get_close_matches(wanted, folded, n=1) or [
        each for each in folded if each.startswith(wanted)
    ]
    return f"Did you mean `{folded[close[0]]}`?" if name and close else None


def one_of(known: Iterable[str]) -> str:
    """Name the choices for a hint: "`a`, `b` or `c`".

    >>> one_of(["a", "b", "c"])
    '`a`, `b` or `c`'
    """
    names = [f"`{name}`" for name in known]
    if len(names) < 2:
        return "".join(names) or "nothing"
    return ", ".join(names[:-1]) + f" or {names[-1]}"
