"""Files to score: patterns of names, here or in a store."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlops.errors import NotFoundError
from mlops.registry.stores import Store, parse_location
from mlops.tables.streaming import form_of

_WILD = "*?["
#: Name of a part that a job writes.
_PART = re.compile(r"part-[0-9]{5}-[0-9]{7}\.[a-z]+")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file.

    Attributes:
        name: Its path or URI.
        size: In bytes.
        tag: Another whenever it is written.
        store: The store it is in; None for a file here.
        key: Its key there.
    """

    name: str
    size: int
    tag: str
    store: Store | None = None
    key: str = ""

    @contextmanager
    def here(self) -> Iterator[Path]:
        """Bring it here while it is read."""
        if self.store is None:
            yield Path(self.name)
            return
        with TemporaryDirectory(prefix="mlops-batch-") as folder:
            path = Path(folder, self.key.rpartition("/")[2])
            self.store.get(self.key, path)
            yield path


@dataclass(frozen=True, slots=True)
class Inputs:
    """Files in a lasting order."""

    files: tuple[InputFile, ...]

    @property
    def identity(self) -> list[list[str | int]]:
        """What tells that they are the same files, as JSON data."""
        return [[file.name, file.size, file.tag] for file in self.files]


def find_inputs(
    patterns: Sequence[str], open_store: Callable[[str], Store], out: str = ""
) -> Inputs:
    """Find files by patterns such as `rows/*.parquet` or `s3://bucket/rows/*.csv`.

    Args:
        patterns: Names, which may have `*`, `?` and `[…]` within a folder's name or a file's;
            `**` for folders below.
        open_store: Opens the store at a URI.
        out: Where parts are written: those of an earlier run there are not read.

    Raises:
        NotFoundError: A pattern fits no file.
        InvalidInputError: The form of a file is not known.
    """
    found: dict[str, InputFile] = {}
    for pattern in patterns:
        location = parse_location(pattern)
        some = _here(pattern) if location.scheme == "file" else _there(pattern, open_store)
        some = [file for file in some if not (out and _is_part(file.name, out))]
        if not some:
            raise NotFoundError(f"No file fits `{pattern}`.")
        found.update({file.name: file for file in some})
    for name in found:
        form_of(name)
    return Inputs(tuple(found.values()))


def _is_part(name: str, out: str) -> bool:
    folder, _, last = name.rpartition("/")
    return bool(_PART.fullmatch(last)) and parse_location(folder or ".") == parse_location(out)


def _here(pattern: str) -> list[InputFile]:
    path = Path(pattern).expanduser()
    names = [str(path)] if path.is_file() else glob.glob(str(path), recursive=True)  # noqa: PTH207 - of any folder
    files = [Path(name) for name in sorted(names) if Path(name).is_file()]
    return [
        InputFile(str(file), file.stat().st_size, str(file.stat().st_mtime_ns)) for file in files
    ]


def _there(pattern: str, open_store: Callable[[str], Store]) -> list[InputFile]:
    """List what lies below the last folder without a wildcard."""
    plain = min((pattern.find(sign) for sign in _WILD if sign in pattern), default=len(pattern))
    root = pattern[: pattern.rfind("/", 0, plain)]
    rest = pattern[len(root) + 1 :]
    store = open_store(root)
    return [
        InputFile(f"{root}/{file.key}", file.size, file.tag, store, file.key)
        for file in store.files(rest if plain == len(pattern) else "")
        if _fits(file.key.split("/"), rest.split("/"))
    ]


def _fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Compare name by name: as in folders here, `*` does not reach into those below."""
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_fits(names[at:], patterns[1:]) for at in range(len(names) + 1))
    return (
        bool(names)
        and fnmatch.fnmatchcase(names[0], patterns[0])
        and _fits(names[1:], patterns[1:])
    )
