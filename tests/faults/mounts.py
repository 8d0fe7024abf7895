"""Small and read-only disks, for tests that may mount them."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from pathlib import Path

# A user that is not root may mount in a namespace of its own, where the system allows it.
_WAYS: tuple[tuple[str, ...], ...] = (
    ("unshare", "--mount"),
    ("unshare", "--map-root-user", "--mount"),
)
_READ_ONLY = "mount --bind {0} {0} && mount -o remount,ro,bind {0} && "


def way_to_mount(folder: Path, script: str) -> tuple[str, ...] | None:
    """Return what a command must be run under that mounts; None where mounting is not allowed.

    Args:
        folder: An empty folder to try it on.
        script: What mounts it, as `$0`, for a shell.
    """
    return next((way for way in _WAYS if _works([*way, "sh", "-c", script, str(folder)])), None)


def read_only(folders: list[Path], command: list[str]) -> list[str] | None:
    """Return a command that finds folders read-only, in which others may write meanwhile.

    None where that cannot be had.
    """
    script = "".join(_READ_ONLY.format(shlex.quote(str(folder))) for folder in folders)
    inside = ["sh", "-c", f'{script}exec "$0" "$@"']
    way = next((way for way in _WAYS if _works([*way, *inside, "true"])), None)
    return [*way, *inside, *command] if way else None


def _works(command: list[str]) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False
