"""A lease on folders of the cache: they are not removed while it is held."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mlops.registry.locks import take_lock


def lock_of(folder: Path) -> Path:
    """Return the lock of a folder in a cache."""
    return folder.with_name(folder.name + ".lock")


class Lease:
    """Holds folders until it is closed, or the process ends; those outside a cache need nothing."""

    def __init__(self) -> None:
        self._locks: dict[Path, int] = {}

    def take(self, folder: Path) -> bool:
        """Hold this folder too, and note that it was used; return False if it is gone."""
        lock = lock_of(folder)
        if folder not in self._locks and lock.exists():
            descriptor = take_lock(lock, shared=True)
            assert descriptor is not None
            os.utime(descriptor)
            self._locks[folder] = descriptor
        return folder.is_dir()

    def keep(self, folders: Iterable[Path]) -> None:
        """Release all but these."""
        wanted = set(folders)
        for folder in [folder for folder in self._locks if folder not in wanted]:
            os.close(self._locks.pop(folder))

    def close(self) -> None:
        """Release everything."""
        self.keep(())

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
