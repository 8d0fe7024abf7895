"""What an artifact store is to mlops: files under keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from mlops.errors import InvalidInputError, RemoteError

if TYPE_CHECKING:
    from mlops.registry.stores.access import Access

#: Called with bytes as they go, so many more; it may be called from any thread.
OnBytes = Callable[[int], None]

#: The name under which a store keeps the checksum beside a file.
CHECKSUM_NAME = "sha256"


@dataclass(frozen=True, slots=True)
class File:
    """One file of a store.

    Attributes:
        key: Its name below the store's root, with slashes.
        size: In bytes.
        sha256: Checksum in hexadecimal; empty if none was recorded, and in lists.
        tag: In lists the store's tag for this state of the file, a new one whenever it is
            written; else empty.
    """

    key: str
    size: int
    sha256: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    """A store's root.

    Attributes:
        scheme: `file`, `s3` or `gs`, or one of those that are left to MLflow.
        bucket: Empty for files.
        prefix: Path in the bucket without slashes at its ends; for files the absolute path.
    """

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        if self.scheme == "file":
            return self.prefix
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    def key(self, name: str) -> str:
        """Return the full key of `name` in the bucket."""
        return f"{self.prefix}/{checked(name)}" if self.prefix else checked(name)


class Store(Protocol):
    """Files under keys. All methods may be called by several threads at once.

    Every method raises an `MlopsError` whose `reason` is one of `mlops.registry.stores.faults`
    when the store cannot do it, and never a client's own exception.
    """

    @property
    def location(self) -> Location:
        """The root that keys are relative to."""

    @property
    def access(self) -> Access:
        """How it is reached."""

    def put(
        self, source: Path, key: str, *, sha256: str = "", on_bytes: OnBytes | None = None
    ) -> File:
        """Store a file, replacing what was there. It appears complete or not at all.

        Args:
            source: The local file.
            key: Where to.
            sha256: Its checksum if it is known already; else it is computed.
            on_bytes: Called with what has been sent.
        """

    def get(self, key: str, target: Path, *, on_bytes: OnBytes | None = None) -> File:
        """Download a file; `target` appears complete and checked, or not at all.

        Raises:
            NotFoundError: There is no such file.
            RemoteError: The content is not what was stored.
        """

    def stat(self, key: str) -> File:
        """Return size and checksum of a file.

        Raises:
            NotFoundError: There is no such file.
        """

    def files(self, prefix: str = "") -> Iterator[File]:
        """Yield the files whose keys start with `prefix`, in the order of their keys."""

    def delete(self, key: str) -> None:
        """Delete a file. A missing one is not an error."""

    def close(self) -> None:
        """Close connections. The store must not be used afterwards."""


def parse_location(uri: str) -> Location:
    """Read the URI of a store.

    Raises:
        InvalidInputError: It names no bucket, is not a URI, or no path that leads anywhere.

    >>> parse_location("s3://bucket/a/b/")
    Location(scheme='s3', bucket='bucket', prefix='a/b')
    >>> parse_location("/srv/models").scheme
    'file'
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidInputError(f"`{uri}` is not the URI of a store: {error}.") from error
    # A single letter is a drive, not a scheme.
    if len(parts.scheme) < 2 or parts.scheme == "file":
        local = Path(unquote(parts.path)) if parts.scheme == "file" else Path(uri)
        try:
            return Location("file", "", str(local.expanduser().resolve()))
        except (RuntimeError, OSError) as error:
            # A link that leads to itself; `~` and the name of nobody.
            raise InvalidInputError(f"`{uri}` cannot be resolved: {error}.") from error
    if parts.scheme not in ("s3", "gs"):
        return Location(parts.scheme, parts.netloc, parts.path.strip("/"))
    if "@" in parts.netloc:
        raise InvalidInputError(
            f"The URI of a store must not hold credentials (`{parts.scheme}://…@…`).",
            hint="Name their source instead: `credentials` of [artifacts] in mlops.toml.",
        )
    if not parts.netloc:
        raise InvalidInputError(
            f"`{uri}` names no bucket.", hint=f"Write it as `{parts.scheme}://bucket/path`."
        )
    # Keys may hold `?` and `#`, which are nothing special to a store.
    path = uri[len(f"{parts.scheme}://{parts.netloc}") :]
    return Location(parts.scheme, parts.netloc, path.strip("/"))


def checked(key: str) -> str:
    """Return a key that stays below its root.

    Raises:
        InvalidInputError: It would lead elsewhere.
    """
    parts = key.split("/")
    if not key or ".." in parts or "." in parts or "" in parts or "\0" in key:
        raise InvalidInputError(f"`{key}` is not a key of a file in a store.")
    return key


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_arrival(part: Path, expected: File, where: str) -> None:
    """Compare what arrived with what was stored.

    Raises:
        RemoteError: It differs in size or checksum.
    """
    size = part.stat().st_size
    if size != expected.size:
        raise RemoteError(
            f"`{where}` arrived with {size} of its {expected.size} bytes.",
            hint="Try again; if it stays so, something between here and the store cuts it off.",
            reason="damaged",
        )
    if expected.sha256 and file_checksum(part) != expected.sha256:
        raise RemoteError(
            f"`{where}` is not what was stored: its SHA-256 differs.",
            hint="Try again; if it stays so, the file in the store is damaged: push it again.",
            reason="damaged",
        )
