"""Which data a run was given: files among its parameters, by the digest of their bytes.

MLflow keeps data sets as inputs of a run: a name, a digest, a source, a profile. A script can log
its own (`mlflow.log_input`); what a parameter of type `path` or `uri` names is logged for it before
it starts. The digest is the first 32 hexadecimal digits of SHA-256, as MLflow's has room for 36;
all 64 are in the profile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlops.registry.stores.base import file_checksum
from mlops.settings.secrets import without_credentials
from mlops.training.project import EntryPoint

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

#: Largest file whose bytes are read for a digest.
MAX_BYTES = 2 << 30
_DIGITS = 32
_TYPES = ("path", "uri")
_CONTEXT = "parameter"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that a parameter names.

    Attributes:
        name: The parameter.
        source: The value it was given, without credentials.
        path: The file on this machine, None if it is elsewhere.
        sha256: Of its bytes, 64 hexadecimal digits; empty if they were not read.
        size_bytes: Its size, 0 if unknown.
        why_unread: Why there is no digest, else empty.
    """

    name: str
    source: str
    path: Path | None
    sha256: str = ""
    size_bytes: int = 0
    why_unread: str = ""

    @property
    def digest(self) -> str:
        """What MLflow has room for."""
        return self.sha256[:_DIGITS]


def data_files(entry_point: EntryPoint, values: Mapping[str, str], folder: Path) -> list[DataFile]:
    """Return the files among a run's parameters, read once each.

    Args:
        entry_point: Declares which parameters are of type `path` or `uri`.
        values: Every parameter of the run.
        folder: The project's, where the script runs.
    """
    declared = entry_point.parameters
    return [
        _data_file(name, value, folder)
        for name, value in values.items()
        if name in declared and declared[name].type in _TYPES and value
    ]


def data_input(file: DataFile) -> DatasetInput:
    """Return a file as MLflow's input of a run; it must have a digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(
        dataset=Dataset(
            name=file.name,
            digest=file.digest,
            source_type="local",
            source=json.dumps({"uri": str(file.path)}),
            profile=json.dumps({"size_bytes": file.size_bytes, "sha256": file.sha256}),
        ),
        tags=[InputTag("mlflow.data.context", _CONTEXT)],
    )


def local_file(uri: str, folder: Path) -> Path | None:
    """Return the file that a path or `file:` URI names, seen from a folder; None if elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if len(parts.scheme) > 1:
        return None
    inside = folder / Path(uri).expanduser()
    return inside if inside.exists() else Path(uri).expanduser().absolute()


def _data_file(name: str, value: str, folder: Path) -> DataFile:
    source, path = without_credentials(value), local_file(value, folder)
    if path is None:
        return DataFile(name, source, None, why_unread="it is not on this machine")
    try:
        size = path.stat().st_size
        if path.is_dir():
            return DataFile(name, source, path, why_unread="it is a folder")
        if size > MAX_BYTES:
            return DataFile(name, source, path, size_bytes=size, why_unread="it is too large")
        return DataFile(name, source, path, file_checksum(path), size)
    except OSError as error:
        return DataFile(name, source, path, why_unread=str(error.strerror))
