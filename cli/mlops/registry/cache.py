"""Downloaded models on this machine, by what they hold.

    models/DIGEST/         the model's files
    models/DIGEST.json     what they are; without it the folder is ignored
    models/DIGEST.lock     held shared while the folder is used, exclusive to remove it
    sources/HASH           which model a source led to
    parts/KEY/             an incomplete download, with a lock beside it

Two references to the same bytes share one folder. A lock ends with its holder, so a folder is in
use exactly as long as a process that uses it runs, and a download without a lock was
interrupted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError
from mlops.registry.cache_lease import Lease, lock_of
from mlops.registry.locks import locked, locked_if_free
from mlops.settings.secrets import without_credentials
from mlops.spec.content import Content, Manifest, manifest_from_dict, manifest_to_dict

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Cached:
    """One model in the cache.

    Attributes:
        digest: What it holds.
        path: Its folder.
        size: In bytes.
        used_ms: When it was last used, milliseconds since 1970 in UTC.
        in_use: Whether a server or a command uses it now.
        sources: Where it came from.
    """

    digest: str
    path: Path
    size: int
    used_ms: int
    in_use: bool
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed, or would be.

    Attributes:
        models: Whole models.
        parts: Interrupted downloads, as folders.
        freed: Bytes of all that.
        left: Bytes of what stays.
    """

    models: tuple[Cached, ...]
    parts: tuple[Path, ...]
    freed: int
    left: int


class Cache:
    """The cache in one folder. Several processes may use it at once.

    Args:
        folder: Created when something is added.
        max_bytes: How much it may hold; what is in use stays even so.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def find(self, digest: str) -> Path | None:
        """Return the folder of a model; None if it is not here, or incomplete."""
        folder = self._model(digest)
        content = _read_record(folder)
        if content is None:
            return None
        # More than these may be there: Python keeps compiled code beside a model's own.
        there = _sizes(folder)
        whole = all(there.get(file.path) == file.size for file in content.files)
        return folder if whole else None

    def digest_in(self, folder: Path) -> str:
        """Return what a folder of the cache holds; empty for one that is none."""
        return f"sha256:{folder.name}" if self._model(f"sha256:{folder.name}") == folder else ""

    def digest_of(self, key: str) -> str:
        """Return what a key led to when it was last downloaded; empty if it never was."""
        return _read_source(self._source(key))[1]

    def remember(self, key: str, source: str, digest: str) -> None:
        """Remember what a key, which represents a source, led to."""
        _write(self._source(key), {"source": without_credentials(source), "digest": digest})

    @contextlib.contextmanager
    def part(self, key: str) -> Iterator[Path]:
        """Give the folder for a download, with what an interrupted one left in it.

        It is held exclusively: a second process waits until the first is done. What is in it
        afterwards stays for the next attempt.

        Args:
            key: What is downloaded.
        """
        folder = self.folder / "parts" / _short(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock_of(folder)):
            folder.mkdir(exist_ok=True)
            try:
                yield folder
            finally:
                if not folder.exists() or not any(folder.iterdir()):
                    shutil.rmtree(folder, ignore_errors=True)
                    lock_of(folder).unlink()

    def add(self, part: Path, content: Content) -> Path:
        """Make a whole download a model of the cache, in one step, and return its folder.

        Args:
            part: What `part` gave; it is gone afterwards.
            content: What it holds; the caller has checked it. Everything else there is removed.
        """
        folder = self._model(content.digest)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Held like a reader, which excludes removal; only one process adds at a time.
        with locked(folder.parent / "adding.lock"), Lease() as hold:
            lock_of(folder).touch()
            hold.take(folder)
            if self.find(content.digest) is not None:
                shutil.rmtree(part)
                return folder
            shutil.rmtree(folder, ignore_errors=True)
            for stray in _sizes(part).keys() - {file.path for file in content.files}:
                (part / stray).unlink()
            part.replace(folder)
            _write(_record_of(folder), manifest_to_dict(Manifest(content, True, "")))
        return folder

    def models(self) -> tuple[Cached, ...]:
        """Return what is here, most recently used first."""
        sources = self._sources()
        found = [
            _cached(record.with_suffix(""), content, [s for s, d in sources if d == content.digest])
            for record in (self.folder / "models").glob("*.json")
            if (content := _read_record(record.with_suffix(""))) is not None
        ]
        return tuple(sorted(found, key=lambda model: model.used_ms, reverse=True))

    def prune(
        self, *, everything: bool = False, parts: bool = True, dry_run: bool = False
    ) -> Removed:
        """Remove what was not used for the longest time, until the rest is within the limit.

        What is in use stays, and so do downloads in progress.

        Args:
            everything: Remove all that is not in use, whatever the limit.
            parts: Remove interrupted downloads too, instead of keeping them for the next
                attempt.
            dry_run: Remove nothing, only say what would be.
        """
        models = self.models()
        left = sum(model.size for model in models)
        gone = []
        for model in reversed(models):
            within = left <= self.max_bytes and not everything
            if not within and not model.in_use and (dry_run or self._remove(model)):
                gone.append(model)
                left -= model.size
        broken = dict(self._broken_off(dry_run=dry_run)) if parts else {}
        freed = sum(model.size for model in gone) + sum(broken.values())
        return Removed(tuple(gone), tuple(broken), freed, left)

    def _remove(self, model: Cached) -> bool:
        with locked_if_free(lock_of(model.path)) as free:
            if free:
                # Without its record a folder is ignored, however far this gets.
                _record_of(model.path).unlink(missing_ok=True)
                shutil.rmtree(model.path, ignore_errors=True)
                for file in (self.folder / "sources").glob("*"):
                    if _read_source(file)[1] == model.digest:
                        file.unlink(missing_ok=True)
                lock_of(model.path).unlink(missing_ok=True)
        return free

    def _broken_off(self, *, dry_run: bool) -> Iterator[tuple[Path, int]]:
        for folder in sorted(p for p in (self.folder / "parts").glob("*") if p.is_dir()):
            with locked_if_free(lock_of(folder)) as free:
                if free:
                    yield folder, sum(_sizes(folder).values())
                    if not dry_run:
                        shutil.rmtree(folder, ignore_errors=True)
                        lock_of(folder).unlink(missing_ok=True)

    def _sources(self) -> list[tuple[str, str]]:
        return sorted({_read_source(file) for file in (self.folder / "sources").glob("*")})

    def _model(self, digest: str) -> Path:
        return self.folder / "models" / digest.removeprefix("sha256:")

    def _source(self, key: str) -> Path:
        return self.folder / "sources" / _short(key)


def open_cache(settings: StoreSettings) -> Cache:
    """Return the project's cache; nothing is created."""
    return Cache(settings.home / "cache", settings.cache.max_mb * _MB)


def _cached(folder: Path, content: Content, sources: list[str]) -> Cached:
    lock = lock_of(folder)
    used_s = lock.stat().st_mtime if lock.exists() else 0.0
    with locked_if_free(lock) as free:
        return Cached(
            digest=content.digest,
            path=folder,
            size=content.size,
            used_ms=int(used_s * 1000),
            in_use=not free,
            sources=tuple(sources),
        )


def _record_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".json")


def _read_record(folder: Path) -> Content | None:
    record = _record_of(folder)
    try:
        document = json.loads(record.read_text(encoding="utf-8"))
        return manifest_from_dict(document, str(record)).content
    except (FileNotFoundError, ValueError, InvalidInputError):
        # A damaged record is ignored; what it was about is downloaded again.
        return None


def _read_source(file: Path) -> tuple[str, str]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return str(document["source"]), str(document["digest"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "", ""


def _sizes(folder: Path) -> dict[str, int]:
    """Return the size of every file in a folder, by its path in it."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
