"""Reading what a model's folder on this machine holds.

Code that Python compiled while a server used the folder is not part of the model.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

from mlops.errors import InvalidInputError, NotFoundError
from mlops.spec.content import MANIFEST, MLMODEL, Content, ContentFile, make_content

# hashlib releases the GIL, so that threads do use several cores.
_THREADS = 4
_BLOCK = 1 << 20
_COMPILED = "__pycache__"


def read_content(folder: Path) -> Content:
    """Read every file of a model's folder and return what it holds.

    Raises:
        NotFoundError: It is not a model.
        InvalidInputError: It holds what no store could: a link to a folder, a pipe, a link to
            nothing; or a file changed while it was read.
    """
    if not (folder / MLMODEL).is_file():
        raise NotFoundError(f"`{folder}` is not a model: it has no `{MLMODEL}` file.")
    with ThreadPoolExecutor(_THREADS) as pool:
        return make_content(list(pool.map(lambda path: _read(folder, path), _files(folder))))


def copy_content(
    source: Path,
    content: Content,
    target: Path,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Copy the files of a model into a folder, and check that they arrived.

    Args:
        source: The model's folder.
        content: What it holds.
        target: Where to; files of an interrupted copy are replaced.
        on_bytes: Called with the size of each file that was copied.

    Raises:
        InvalidInputError: One changed in the meantime.
    """
    for file in content.files:
        copy = target / file.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        # One that an interrupted copy left may be read-only, as its model is.
        copy.unlink(missing_ok=True)
        shutil.copy2(source / file.path, copy)
        fault = fault_of(copy, file)
        if fault is not None:
            raise InvalidInputError(
                f"`{source / file.path}` changed in the meantime: it {fault} now."
            )
        on_bytes(file.size)


def copy_files(
    source: Path, target: Path, show: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Copy the files of a model into a new folder, without a look at what they hold.

    Args:
        source: The model's folder.
        target: Where to.
        show: Called with the bytes that were copied, and those of all.

    Raises:
        InvalidInputError: It holds what no store could.
    """
    paths = list(_files(source))
    strange = next((path for path in paths if not path.is_file()), None)
    if strange is not None:
        raise _no_file(strange)
    sizes = [path.stat().st_size for path in paths]
    for path, done in zip(paths, accumulate(sizes), strict=True):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
        show(done, sum(sizes))


def sha256_of(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Args:
        path: The file.
        on_bytes: Called with the size of each block that was read.
    """
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            found.update(block)
            on_bytes(len(block))
    return found.hexdigest()


def fault_of(path: Path, file: ContentFile) -> str | None:
    """Say what is wrong with a file that should be `file`; None if nothing is."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != file.size:
        return f"has {size:,} bytes, not {file.size:,}"
    return None if sha256_of(path) == file.sha256 else "has other bytes"


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != _COMPILED]
        linked = next((name for name in folders if Path(place, name).is_symlink()), None)
        if linked is not None:
            raise InvalidInputError(
                f"`{Path(place, linked)}` is a link to a folder, which no store can hold.",
                hint="Put the folder itself there.",
            )
        yield from (Path(place, name) for name in names if Path(place, name) != folder / MANIFEST)


def _read(folder: Path, path: Path) -> ContentFile:
    if not path.is_file():
        raise _no_file(path)
    before = path.stat()
    found = ContentFile(path.relative_to(folder).as_posix(), before.st_size, sha256_of(path))
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InvalidInputError(
            f"`{path}` changed while it was read.", hint="Try again when nothing writes to it."
        )
    return found


def _no_file(path: Path) -> InvalidInputError:
    return InvalidInputError(f"`{path}` is not a file that a store can hold.")
