"""What a model's folder holds, file by file: its identity in any place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlops.errors import InvalidInputError

#: Where a pushed model says what it consists of, beside its files. Not part of the content.
MANIFEST = "mlops-manifest.json"
#: The file without which a folder is not an MLflow model.
MLMODEL = "MLmodel"

_SCHEMA_VERSION = 1
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ContentFile:
    """One file of a model.

    Attributes:
        path: Relative to the model's folder, with `/` between its parts.
        size: In bytes.
        sha256: Of its bytes, in hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Content:
    """All files of a model.

    Attributes:
        files: In the order of their paths.
    """

    files: tuple[ContentFile, ...]

    @property
    def digest(self) -> str:
        """Identity: equal if, and only if, paths and bytes are equal."""
        lines = "".join(f"{file.sha256}  {file.path}\n" for file in self.files)
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    @property
    def size(self) -> int:
        """Of all files together, in bytes."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a model that was pushed to a store.

    Attributes:
        content: The files that make it up.
        complete: Whether all of them are there; False while a push is under way, or was broken
            off.
        model: What was pushed, for example `wine/3`.
    """

    content: Content
    complete: bool
    model: str


def make_content(files: Sequence[ContentFile]) -> Content:
    """Return the content made of these files, in whatever order they come.

    Raises:
        InvalidInputError: A path leads out of the folder or comes twice.
    """
    for file in files:
        check_path(file.path)
    paths = [file.path for file in files]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise InvalidInputError(f"`{twice[0]}` comes twice among the files of a model.")
    return Content(tuple(sorted(files, key=lambda file: file.path)))


def check_path(path: str) -> None:
    """Refuse the path of a file that would be outside the model's folder.

    A store may hold any name, and what it says decides where a download writes.

    Raises:
        InvalidInputError: It is absolute, or has a part that is empty, `.` or `..`.

    >>> check_path("data/model.pkl")
    """
    if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path or "\0" in path:
        raise InvalidInputError(f"`{path}` cannot be a file of a model.")


def manifest_to_dict(manifest: Manifest) -> dict[str, Any]:
    """Write a manifest as plain JSON data."""
    content = manifest.content
    return {
        "schema_version": _SCHEMA_VERSION,
        "complete": manifest.complete,
        "model": manifest.model,
        "digest": content.digest,
        "files": [asdict(file) for file in content.files],
    }


def manifest_from_dict(document: Any, where: str) -> Manifest:  # noqa: ANN401 - parsed JSON
    """Read what `manifest_to_dict` has written.

    Args:
        document: Parsed JSON.
        where: Where it is from, for the message.

    Raises:
        InvalidInputError: It is of another version, damaged, or its digest is not that of its
            files.
    """
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version != _SCHEMA_VERSION:
        raise InvalidInputError(
            f"`{where}` has version {version}; this mlops reads {_SCHEMA_VERSION}.",
            hint="pip install --upgrade mlops-loop",
        )
    try:
        content = make_content([_file(item) for item in document["files"]])
        manifest = Manifest(content, document["complete"] is True, str(document["model"]))
        if document["digest"] != content.digest:
            raise ValueError("its digest is not that of its files")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"`{where}` is damaged: {error}.") from error
    return manifest


def _file(item: Mapping[str, Any]) -> ContentFile:
    file = ContentFile(str(item["path"]), int(item["size"]), str(item["sha256"]))
    if file.size < 0 or not _HEX.fullmatch(file.sha256):
        raise ValueError(f"`{file.path}` has no size or no SHA-256")
    return file
