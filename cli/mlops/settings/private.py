"""The project's state, closed to other users whatever the umask.

A folder that no other user may enter closes all that is in it. A user who can open the journal
for reading can also lock its writer out, so this is more than secrecy.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

_LOG = logging.getLogger(__name__)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(folder: Path) -> None:
    """Create a folder of mode 0700; close one that is there and open, with all that is in it.

    One that belongs to another user is left alone.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if not status.st_mode & _OTHERS or status.st_uid != os.geteuid():
        return
    folder.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _close(Path(place, name))
    _LOG.warning("`%s` was open to other users of this machine; it is private now.", folder)


def private_opener(path: str, flags: int) -> int:
    """Open a file, for `open(…, opener=private_opener)`: one that is made is of mode 0600."""
    return os.open(path, flags, 0o600)


def _close(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
        # The target of a link is left alone.
        if mode & _OTHERS and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
    except OSError:
        # Gone in the meantime, or another user's: the folder around it is closed.
        return
