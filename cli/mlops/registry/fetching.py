"""A model's folder on this machine."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlops.errors import ConflictError, NotFoundError
from mlops.registry.artifact_digest import copy_content, copy_files, read_content
from mlops.registry.artifact_manifest import Place, check_unchanged, is_store, look, pin
from mlops.registry.cache import open_cache
from mlops.registry.cache_lease import Lease
from mlops.registry.client import open_registry
from mlops.registry.faults import store_errors
from mlops.registry.stores import check_credentials, open_store
from mlops.registry.transfer import Meter, Show, download, download_listed
from mlops.spec.content import MANIFEST, MLMODEL, Content

if TYPE_CHECKING:
    from mlops.registry.stores import Store
    from mlops.settings.needs import StoreSettings
    from mlops.spec.model import ModelVersion

_TRIES = 3
_FORMER_FOLDER = (
    "Save the former model to the folder again, or name the folder again to deploy what is there."
)


def _unseen(done: int, total: int) -> None:
    """Show no progress of a download."""


@contextlib.contextmanager
def fetched(
    versions: Sequence[ModelVersion], settings: StoreSettings, show: Show = _unseen
) -> Iterator[tuple[Path, ...]]:
    """Give a local folder of each model, kept in the cache while it is in use.

    Raises:
        MlopsError: As `fetch`.
    """
    with Lease() as hold:
        folders = tuple(_held(version, settings, hold, show) for version in versions)
        # Now, and not before: what was just downloaded is in use.
        open_cache(settings).prune(parts=False)
        yield folders


def fetch(version: ModelVersion, settings: StoreSettings, show: Show = _unseen) -> Path:
    """Return a local folder with the model's files.

    A folder of this machine that was not pinned is used in place, without importing mlflow; so is
    that of a registered version, whose source is taken to be immutable. Any other model is
    downloaded once into `.mlops/cache`, where models of equal content share a folder. So is a
    folder that was pinned or pushed to, as the next training or push may replace what is in it.
    What is there is compared with what was pinned. Safe to call from several processes: a folder
    appears in the cache complete or not at all.

    Args:
        version: What `resolve` returned, or `pin`; without a pin, what is there now.
        settings: The project's settings.
        show: Called with the progress of a download.

    Raises:
        NotFoundError: The folder is missing, is not an MLflow model, or a push to it is unfinished.
        ConflictError: It holds another model than was pinned.
        RemoteError: The artifact store cannot be reached, or sent something else.
    """
    folder = plain_folder(version.source)
    if version.digest or folder is None:
        pinned = version if version.digest else pin(version, settings)
        return _from_cache(pinned, settings, show)
    _check_is_model(version, folder)
    return folder


def copy_to(
    version: ModelVersion, settings: StoreSettings, folder: Path, show: Show = _unseen
) -> Content:
    """Copy a model into a new folder, bypassing the cache if it is not there.

    Raises:
        MlopsError: As `fetch`.
    """
    if is_store(version.source) and not is_at_hand(version, settings):
        return _download(version, settings, folder, show)
    with fetched([version], settings, show) as (source,):
        content = read_content(source)
        copy_content(source, content, folder)
        return content


def is_at_hand(version: ModelVersion, settings: StoreSettings) -> bool:
    """Whether a model can be used without a download: as a folder, or from the cache."""
    if not version.digest and plain_folder(version.source) is not None:
        return True
    return cached_folder(version, settings) is not None


def cached_folder(version: ModelVersion, settings: StoreSettings) -> Path | None:
    """Return the folder of a model in the cache, None if it is not there.

    Another model may be at its source by now.
    """
    cache = open_cache(settings)
    is_known = version.digest.startswith("sha256:")
    digest = version.digest if is_known else cache.digest_of(_key(version))
    return cache.find(digest) if digest else None


def keep_folders(
    deployment: str, versions: Iterable[ModelVersion], settings: StoreSettings
) -> None:
    """Keep in the cache what a deployment has of folders of this machine.

    Their copy may be the only one: the next training writes into them.

    Args:
        deployment: Its name.
        versions: Models of the revision that is live now.
        settings: The project's settings.
    """
    of_folders = (each for each in versions if each.digest and plain_folder(each.source))
    open_cache(settings).keep(deployment, [version.digest for version in of_folders])


def content_digest(folder: Path, settings: StoreSettings) -> str:
    """Return what a folder that `fetched` gave holds; empty for one that is used in place."""
    return open_cache(settings).digest_in(folder)


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


def plain_folder(source: str) -> Path | None:
    """Return the path of a folder of this machine, None for one that was pushed to."""
    local = local_path(source)
    return None if local is None or (local / MANIFEST).is_file() else local


def download_to(place: Place, store: Store, folder: Path, show: Show = _unseen) -> Content:
    """Download the model at a place into a folder, checked against its manifest if it has one.

    Raises:
        NotFoundError: There is no model, or not all of one.
        ConflictError: It changed in the meantime.
        RemoteError: The store sent other content.
    """
    before = place.digest
    if place.manifest is not None:
        content = place.whole()
        download(store, content, folder, Meter(content.size, show))
        return content
    files = list(place.files.values())
    meter = Meter(sum(file.size for file in files), show)
    content = download_listed(store, files, folder, meter)
    if look(store).digest != before:
        raise ConflictError(f"`{place.where}` changed while it was downloaded.", hint="Try again.")
    return content


def _held(version: ModelVersion, settings: StoreSettings, hold: Lease, show: Show) -> Path:
    for _ in range(_TRIES):
        folder = fetch(version, settings, show)
        # It may have been removed in between.
        if hold.take(folder):
            return folder
    raise ConflictError(f"Another process keeps removing `{version.label}` from the cache.")


def _from_cache(version: ModelVersion, settings: StoreSettings, show: Show) -> Path:
    settings.make_home()
    cache = open_cache(settings)
    key = _key(version)
    pinned = version.digest if version.digest.startswith("sha256:") else cache.digest_of(key)
    found = cache.find(pinned) if pinned else None
    if found is not None:
        cache.remember(key, version.source, pinned)
        return found
    with cache.part(key) as part:
        # Another process may have had it, and be done.
        pinned = pinned or cache.digest_of(key)
        found = cache.find(pinned) if pinned else None
        if found is None:
            content = _download(version, settings, part, show)
            found, pinned = cache.add(part, content), content.digest
        else:
            shutil.rmtree(part)
    cache.remember(key, version.source, pinned)
    return found


def _key(version: ModelVersion) -> str:
    """Return what represents a source in the cache: it changes with the content.

    Without a pin the source cannot change.
    """
    return f"{version.source}\n{version.digest}" if version.digest else version.source


def _download(version: ModelVersion, settings: StoreSettings, part: Path, show: Show) -> Content:
    if not is_store(version.source):
        return _through_mlflow(version.source, settings, part)
    folder = plain_folder(version.source)
    if folder is not None:
        return _copy(version, folder, part, show)
    store = open_store(version.source, settings)
    try:
        place = look(store)
        check_unchanged(version, place.digest)
        return download_to(place, store, part, show)
    finally:
        store.close()


def _copy(version: ModelVersion, folder: Path, part: Path, show: Show) -> Content:
    # Copied, not linked: a training that writes into the files would change them here too.
    _check_is_model(version, folder)
    # What an interrupted copy left may be of another model.
    shutil.rmtree(part)
    part.mkdir()
    copy_files(folder, part, show)
    # The copy, so that a file that changed meanwhile is noticed as well.
    content = read_content(part)
    check_unchanged(version, content.digest, _FORMER_FOLDER)
    return content


def _check_is_model(version: ModelVersion, folder: Path) -> None:
    if not (folder / MLMODEL).is_file():
        raise NotFoundError(
            f"`{version.label}` has no `{MLMODEL}` file in `{folder}`.",
            hint="Its files were moved or deleted, or the store is a folder of another machine.",
        )


def _through_mlflow(source: str, settings: StoreSettings, part: Path) -> Content:
    open_registry(settings)
    check_credentials(source, settings)
    import mlflow

    shutil.rmtree(part)
    part.mkdir()
    with tempfile.TemporaryDirectory(dir=part, prefix=".mlflow-") as folder:
        with store_errors(source):
            got = Path(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=folder))
        for child in got.iterdir():
            child.replace(part / child.name)
    return read_content(part)
