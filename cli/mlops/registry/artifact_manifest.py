"""What is at a place that models are pushed to: a whole model, half of one, or something else.

A push writes its manifest first, saying `complete: false`, then every file but `MLmodel`, then
`MLmodel`, then the manifest again, saying `complete: true`. So half a push is never taken for a
model: neither by mlops, which reads the manifest, nor by a tool that does not and looks for
`MLmodel`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops.errors import ConflictError, InvalidInputError, NotFoundError
from mlops.registry.artifact_digest import read_content
from mlops.registry.stores import STORES, open_store
from mlops.spec.content import MANIFEST, MLMODEL, Content, Manifest, check_path, manifest_from_dict

if TYPE_CHECKING:
    from mlops.registry.stores import File, Store
    from mlops.settings.needs import StoreSettings
    from mlops.spec.model import ModelVersion


@dataclass(frozen=True, slots=True)
class Place:
    """What was found in a store.

    Attributes:
        where: Its URI or path.
        manifest: What a push wrote there, None if none ever began.
        files: Key to what the store lists, without the manifest.
    """

    where: str
    manifest: Manifest | None
    files: Mapping[str, File]

    @property
    def digest(self) -> str:
        """What is there, as in `ModelVersion.digest`.

        Raises:
            NotFoundError: No model does, or not all of one.
        """
        return self.whole().digest if self.manifest else self._listing()

    def whole(self) -> Content:
        """Return what a finished push left there.

        Raises:
            NotFoundError: None was finished.
        """
        if self.manifest is not None and self.manifest.complete:
            return self.manifest.content
        raise NotFoundError(
            f"The model at `{self.where}` is incomplete: a push to it is in progress, or was "
            "interrupted.",
            hint="`mlops models push` again resumes it.",
        )

    def _listing(self) -> str:
        if MLMODEL not in self.files:
            raise NotFoundError(
                f"`{self.where}` is not a model: it has no `{MLMODEL}` file.",
                hint="Name the folder that MLflow saved a model to, or one that a model was "
                "pushed to.",
            )
        lines = [f"{file.size} {file.tag} {file.key}\n" for file in self.files.values()]
        return f"listing:{hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest()}"


def is_store(source: str) -> bool:
    """Whether mlops reads a source itself, rather than through MLflow."""
    # What else is wrong with it is for `parse_location` to report.
    scheme = urlsplit(source.partition("//")[0]).scheme
    # A single letter is a drive, not a scheme.
    return len(scheme) < 2 or scheme in STORES


def look(store: Store) -> Place:
    """List a place and read its manifest.

    Raises:
        MlopsError: The store cannot be used, or a manifest there is damaged.
    """
    files = {file.key: file for file in store.files()}
    manifest = read_manifest(store) if files.pop(MANIFEST, None) else None
    where = str(store.location)
    if manifest is None:
        for key in files:
            check_path(key)
    return Place(where, manifest, files)


def read_manifest(store: Store) -> Manifest | None:
    """Return the manifest at a place, None if there is none.

    Raises:
        InvalidInputError: It is damaged, or of another version.
    """
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder, MANIFEST)
        try:
            store.get(MANIFEST, local)
        except NotFoundError:
            return None
        return _parse(local, f"{store.location}/{MANIFEST}")


def local_manifest(folder: Path) -> Manifest | None:
    """Return the manifest in a folder of this machine, None if there is none."""
    file = folder / MANIFEST
    return _parse(file, str(file)) if file.is_file() else None


def pin(version: ModelVersion, settings: StoreSettings) -> ModelVersion:
    """Note what is at a URI or path now, so that a deployment of it means the same tomorrow.

    A registered version and the model of a run are what they are; they are returned as they came,
    as is a source that only MLflow can reach. A folder that no push created is read as a whole.

    Raises:
        NotFoundError: There is no model, or not all of one.
        InvalidInputError: A folder holds what no store could, or changed while it was read.
        MlopsError: The store cannot be used.
    """
    if version.name or version.run_id or not is_store(version.source):
        return version
    store = open_store(version.source, settings)
    try:
        if store.location.scheme == "file":
            folder = Path(store.location.prefix)
            manifest = local_manifest(folder)
            if manifest is None:
                return replace(version, digest=read_content(folder).digest)
            place = Place(version.label, manifest, {})
        else:
            place = look(store)
        return replace(version, digest=place.digest)
    finally:
        store.close()


def check_unchanged(
    version: ModelVersion,
    found: str,
    hint: str = "Name the model again to deploy what is there now, or push the former one back.",
) -> None:
    """Refuse a model that is no longer what was pinned.

    Raises:
        ConflictError: Something else is there now.
    """
    if version.digest and version.digest != found:
        raise ConflictError(
            f"`{version.label}` holds another model now: {shorten(found)}, not "
            f"{shorten(version.digest)}.",
            hint=hint,
        )


def shorten(digest: str) -> str:
    """Return enough of a digest to distinguish models.

    >>> shorten("sha256:" + "ab" * 32)
    'sha256:abababababab'
    """
    kind, _, text = digest.partition(":")
    return f"{kind}:{text[:12]}"


def _parse(file: Path, where: str) -> Manifest:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInputError(
            f"`{where}` is damaged: {error}.", hint="Push the model there again, with `--force`."
        ) from error
    return manifest_from_dict(document, where)
