"""Runtimes that were chosen and proved before, kept on disk for the next process of the same model.

    ENTRY/choice.json    what was chosen, its proof, and the digests of the other files
    ENTRY/FILE           what the conversion made
    turn-N               locked while choosing for an entry whose name begins with N

An entry is named after everything that a choice depends on: the bytes of the model, what is
installed here, mlops itself, modules of the project that the model uses, and the processor. So it
is never out of date, only no longer used. The folder must be private to the user, as what
is in it is executed; any other folder is ignored.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops.runtimes.proof import Proof

_LOG = logging.getLogger(__name__)
_RECORD = "choice.json"
_FORMAT = 1
#: Most entries; the least recently used go first.
MOST = 100
_TURN_S, _POLL_S = 180.0, 0.05


@dataclass(frozen=True, slots=True)
class Kept:
    """A choice that can be repeated without a comparison.

    Attributes:
        name: A name of `RUNTIMES`.
        proof: What the comparison with pyfunc has shown; None for pyfunc itself.
        reasons: Why not another one, one sentence each.
        left: Groups of rows that are left to the model's own code, in that order.
        joins: Whether requests may share a call.
        files: What the conversion made, by name.
    """

    name: str
    proof: Proof | None
    reasons: tuple[str, ...]
    left: tuple[str, ...]
    joins: bool
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as `mlops cache` shows it.

    Attributes:
        key: Its name.
        runtime: What was chosen.
        model: Folder of the model for which it was made.
        size: In bytes.
        made_ms: When it was made, milliseconds since 1970 in UTC.
        used_ms: When it was last used, likewise.
    """

    key: str
    runtime: str
    model: str
    size: int
    made_ms: int
    used_ms: int


class KeptRuntimes:
    """The entries in one folder. Several processes may use it at once.

    Args:
        folder: Created, for the user alone, when something is added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Wait until no other process chooses for this entry; go on after three minutes anyway."""
        descriptor = -1
        if self._ready():
            name = self.folder / f"turn-{key[0]}"
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _lock(descriptor)
        try:
            yield
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def find(self, key: str) -> Kept | None:
        """Return an entry that is there and whole; and note that it was used."""
        folder = self.folder / key
        if not _is_private(self.folder) or not folder.is_dir():
            return None
        try:
            found = _read(folder)
            os.utime(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _LOG.warning("%s is damaged and not used: %r", folder, error)
            return None
        return found

    def add(self, key: str, kept: Kept, model: Path) -> None:
        """Keep a choice; where that cannot be done it is made again the next time.

        Args:
            key: Name of the entry, whose lock the caller holds.
            kept: The choice.
            model: Folder of the model, human-readable.
        """
        if not self._ready():
            return
        try:
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.folder))
            try:
                _write(draft, kept, model)
                # What is there is damaged, or of an older version.
                shutil.rmtree(self.folder / key, ignore_errors=True)
                draft.rename(self.folder / key)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            for entry in self.entries()[MOST:]:
                shutil.rmtree(self.folder / entry.key, ignore_errors=True)
        except OSError as error:
            _LOG.warning("the choice of a runtime is not kept: %s", error)

    def entries(self) -> list[Entry]:
        """Return what is here, most recently used first."""
        found = []
        for record in self.folder.glob(f"[!.]*/{_RECORD}"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.append(_entry(record))
        return sorted(found, key=lambda entry: entry.used_ms, reverse=True)

    def clear(self, *, dry_run: bool = False) -> list[Entry]:
        """Remove all entries, and drafts that were left behind; return the entries.

        A server that runs has in memory what it needs.
        """
        found = self.entries()
        if not dry_run:
            for folder in self.folder.glob("*/"):
                shutil.rmtree(folder, ignore_errors=True)
        return found

    def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(self.folder):
            return True
        _LOG.warning("%s is accessible to other users: no choice of a runtime is kept", self.folder)
        return False


def runtimes_of(home: Path) -> KeptRuntimes:
    """Return those of a project, by the folder of its state; nothing is created."""
    return KeptRuntimes(home / "cache" / "runtimes")


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    )


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + _TURN_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_S)
        else:
            return


def _read(folder: Path) -> Kept:
    from mlops.runtimes.proof import Proof

    document = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    if document["format"] != _FORMAT:
        raise ValueError("it is of another format")
    files = {name: (folder / name).read_bytes() for name in document["files"]}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != document["files"][name]:
            raise ValueError(f"the digest of {name} is another")
    proof = document["proof"]
    return Kept(
        name=document["name"],
        proof=None if proof is None else Proof(**proof),
        reasons=tuple(document["reasons"]),
        left=tuple(document["left"]),
        joins=document["joins"],
        files=files,
    )


def _write(folder: Path, kept: Kept, model: Path) -> None:
    document: dict[str, Any] = {
        "format": _FORMAT,
        "model": str(model),
        "made_ms": time.time_ns() // 1_000_000,
        "name": kept.name,
        "proof": None if kept.proof is None else asdict(kept.proof),
        "reasons": kept.reasons,
        "left": kept.left,
        "joins": kept.joins,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in kept.files.items()},
    }
    for name, content in kept.files.items():
        (folder / name).write_bytes(content)
    (folder / _RECORD).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _entry(record: Path) -> Entry:
    document = json.loads(record.read_text(encoding="utf-8"))
    folder = record.parent
    return Entry(
        key=folder.name,
        runtime=str(document["name"]),
        model=str(document["model"]),
        size=sum(file.stat().st_size for file in folder.iterdir()),
        made_ms=int(document["made_ms"]),
        used_ms=int(folder.stat().st_mtime * 1000),
    )
