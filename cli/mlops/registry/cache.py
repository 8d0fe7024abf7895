"""Downloaded models on this machine, by what they hold.

    models/DIGEST/         the model's files
    models/DIGEST.json     what they are; without it the folder is ignored
    models/DIGEST.lock     held shared while the folder is used, exclusive to remove it
    sources/HASH           which model a source led to
    deployments/NAME.json  models that are nowhere else, and that a deployment may need again
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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
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
        kept_for: Deployments for which it stays, whether they run or not.
    """

    digest: str
    path: Path
    size: int
    used_ms: int
    in_use: bool
    sources: tuple[str, ...]
    kept_for: tuple[str, ...] = ()


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

    def keep(self, deployment: str, digests: Iterable[str]) -> None:
        """Let no `prune` remove models that a deployment serves now, or served before them.

        Args:
            deployment: Its name.
            digests: Models of its live revision of which there may be no other copy.
        """
        file, now = self.folder / "deployments" / f"{deployment}.json", sorted({*digests})
        before = _read_kept(file)
        if now != (before[0] if before else []):
            _write(file, {"models": [now, *(each for each in before if each != now)][:2]})

    @contextlib.contextmanager
    def part(self, key: str) -> Iterator[Path]:
        """Give the folder for a download, with what an interrupted one left in it.

        It is held exclusively: a second process waits until the first is done. What is in it
        afterwards stays for the next attempt.

        Args:
            key: What is downloaded.
        """
        folder = self._made(self.folder / "parts") / _short(key)
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
        self._made(folder.parent)
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

    def _made(self, folder: Path) -> Path:
        """Make a folder of the cache, which no other user may enter: models have training data.

        Files keep their modes, since copies of them are as readable as these are.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            # Earlier versions left it as the umask had it.
            self.folder.chmod(0o700)
        return folder

    def models(self) -> tuple[Cached, ...]:
        """Return what is here, most recently used first."""
        sources = self._sources()
        kept = {
            file.stem: {*chain.from_iterable(_read_kept(file))}
            for file in sorted((self.folder / "deployments").glob("*.json"))
        }
        models = []
        for record in (self.folder / "models").glob("*.json"):
            folder = record.with_suffix("")
            if (content := _read_record(folder)) is not None:
                came_from = [source for source, digest in sources if digest == content.digest]
                kept_for = [name for name, digests in kept.items() if content.digest in digests]
                models.append(_cached(folder, content, came_from, kept_for))
        return tuple(sorted(models, key=lambda model: model.used_ms, reverse=True))

    def prune(
        self, *, everything: bool = False, parts: bool = True, dry_run: bool = False
    ) -> Removed:
        """Remove what was not used for the longest time, until the rest is within the limit.

        What is in use or kept stays, and so do downloads in progress.

        Args:
            everything: Remove all that is neither in use nor kept, whatever the limit.
            parts: Remove interrupted downloads too, instead of keeping them for the next
                attempt.
            dry_run: Remove nothing, only say what would be.
        """
        models = self.models()
        left = sum(model.size for model in models)
        gone = []
        for model in reversed(models):
            within = left <= self.max_bytes and not everything
            stays = within or model.in_use or model.kept_for
            if not stays and (dry_run or self._remove(model)):
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


def _cached(folder: Path, content: Content, sources: list[str], kept_for: list[str]) -> Cached:
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
            kept_for=tuple(kept_for),
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


def _read_kept(file: Path) -> list[list[str]]:
    """Return the models of a deployment's live revision, then those before."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return [[str(digest) for digest in each] for each in document["models"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # A damaged file keeps none; the next deploy or start writes it.
        return []


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
