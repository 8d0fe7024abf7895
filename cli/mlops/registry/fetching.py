"""A model's folder on this machine."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlops.errors import NotFoundError
from mlops.registry.client import open_registry
from mlops.registry.faults import store_errors
from mlops.registry.stores import check_credentials

if TYPE_CHECKING:
    from mlops.settings import Settings
    from mlops.spec.model import ModelVersion


def fetch(version: ModelVersion, settings: Settings) -> Path:
    """Return a local folder with the model's files.

    A model that lies on this machine is used in place, without importing mlflow. Another is
    downloaded once into `.mlops/cache`; a source is taken to be immutable, as registry versions
    are. Safe to call from several processes: a folder appears there complete or not at all.

    Args:
        version: What `resolve` returned.
        settings: The project's settings.

    Raises:
        NotFoundError: The folder is missing or is no MLflow model.
        RemoteError: The artifact store cannot be reached.
    """
    local = local_path(version.source)
    folder = _download(version.source, settings) if local is None else local
    if not (folder / "MLmodel").is_file():
        raise NotFoundError(
            f"`{version.label}` has no `MLmodel` file in `{folder}`.",
            hint="Its files were moved or deleted, or the store is a folder of another machine.",
        )
    return folder


def local_path(source: str) -> Path | None:
    """Return the path that a source names on this machine, or None if it is elsewhere.

    >>> local_path("file:///srv/my%20model")
    PosixPath('/srv/my model')
    >>> local_path("s3://bucket/model") is None
    True
    """
    parts = urlsplit(source)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    # A single letter is a drive, not a scheme.
    return Path(source) if len(parts.scheme) < 2 else None


def _download(source: str, settings: Settings) -> Path:
    cache = settings.make_home() / "cache"
    folder = cache / hashlib.sha256(source.encode()).hexdigest()[:32]
    if folder.is_dir():
        return folder
    cache.mkdir(exist_ok=True)
    open_registry(settings)
    check_credentials(source, settings)
    import mlflow

    with tempfile.TemporaryDirectory(dir=cache, prefix=".part-") as part:
        with store_errors(source):
            got = Path(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=part))
        _publish(got, folder)
    return folder


def _publish(got: Path, folder: Path) -> None:
    try:
        got.replace(folder)
    except OSError:
        # Another process was faster with the same files.
        if not folder.is_dir():
            raise
        shutil.rmtree(got, ignore_errors=True)
