"""A folder of this machine, or one that is mounted here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlops.registry.stores.access import Access
from mlops.registry.stores.base import (
    File,
    Location,
    OnBytes,
    check_arrival,
    checked,
    file_checksum,
)
from mlops.registry.stores.faults import fault, os_fault

_PART = ".part-"
_CHUNK = 1 << 22


class FileStore:
    """Keys are paths below a folder, which the first `put` creates.

    Checksums are not recorded, as a file may be changed in place: `stat` reads the file.
    """

    def __init__(self, location: Location, access: Access) -> None:
        self._location = location
        self.access = access
        self._root = Path(location.prefix)

    @property
    def location(self) -> Location:
        """The folder."""
        return self._location

    def put(
        self, source: Path, key: str, *, sha256: str = "", on_bytes: OnBytes | None = None
    ) -> File:
        """Copy a file to a temporary name and rename it; see `Store.put`."""
        expected = File(key, source.stat().st_size, sha256 or file_checksum(source))
        target = self._path(key)
        with self._faults(key):
            target.parent.mkdir(parents=True, exist_ok=True)
        self._copy(source, target, expected, on_bytes)
        return expected

    def get(self, key: str, target: Path, *, on_bytes: OnBytes | None = None) -> File:
        """Copy a file here; see `Store.get`."""
        expected = self.stat(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._copy(self._path(key), target, expected, on_bytes)
        return expected

    def stat(self, key: str) -> File:
        """See `Store.stat`."""
        path = self._path(key)
        with self._faults(key):
            if not path.is_file():
                raise fault("file", self.access, f"{self._location}/{key}")
            return File(key, path.stat().st_size, file_checksum(path))

    def files(self, prefix: str = "") -> Iterator[File]:
        """See `Store.files`."""
        with self._faults(prefix):
            found = [Path(folder, name) for folder, _, names in self._walk() for name in names]
        keys = sorted((path.relative_to(self._root).as_posix(), path) for path in found)
        for key, path in keys:
            if key.startswith(prefix) and not path.name.startswith(_PART):
                status = path.stat()
                yield File(key, status.st_size, tag=str(status.st_mtime_ns))

    def delete(self, key: str) -> None:
        """See `Store.delete`; folders that are empty then go too, as a bucket has none."""
        path = self._path(key)
        with self._faults(key):
            path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self._root or not folder.is_relative_to(self._root):
                break
            try:
                folder.rmdir()
            except OSError:
                break

    def close(self) -> None:
        """Nothing is held."""

    def _path(self, key: str) -> Path:
        return self._root / checked(key)

    def _walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        def refused(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        return os.walk(self._root, onerror=refused)

    def _copy(self, source: Path, target: Path, expected: File, on_bytes: OnBytes | None) -> None:
        with self._faults(expected.key):
            number, name = tempfile.mkstemp(prefix=_PART, dir=target.parent)
            part = Path(name)
            try:
                with source.open("rb") as reader, os.fdopen(number, "wb") as writer:
                    _copy_bytes(reader, writer, on_bytes)
                check_arrival(part, expected, str(target))
                # Created private to this user; a file of a store is readable as its folder is.
                shutil.copymode(source, part)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def _faults(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise os_fault(error, self.access, f"{self._location}/{key}".rstrip("/")) from error


def _copy_bytes(reader: BinaryIO, writer: BinaryIO, on_bytes: OnBytes | None) -> None:
    while chunk := reader.read(_CHUNK):
        writer.write(chunk)
        if on_bytes is not None:
            on_bytes(len(chunk))
    writer.flush()
    os.fsync(writer.fileno())
