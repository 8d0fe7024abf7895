"""Copies of models that `mlops models push` has left, as the registry knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops.errors import InvalidInputError
from mlops.registry.client import nothing_yet, open_registry
from mlops.registry.faults import mlflow_errors
from mlops.registry.push import PushRecord, push_records, push_tag
from mlops.registry.stores import STORES
from mlops.registry.stores.base import parse_location

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings
    from mlops.spec.model import ModelVersion


def pushed_copy(settings: StoreSettings, version: ModelVersion) -> PushRecord | None:
    """Return the last push of a registered version to an object store, None if there was none."""
    if not version.name:
        return None
    client = open_registry(settings)
    with mlflow_errors(settings):
        tags = client.get_model_version(version.name, str(version.version)).tags
    return next((each for each in push_records(tags) if _is_remote(each.uri)), None)


def readable_source(settings: StoreSettings, version: ModelVersion) -> str:
    """Return where the files of a model can be read with access to the registry.

    A copy need not be readable from here, while what it was made from is. A bare URI has no
    registered version; if one was pushed there, that is it.

    Returns:
        The URI; empty for a URI that the registry knows nothing of.
    """
    if version.name and version.digest:
        client = open_registry(settings)
        with mlflow_errors(settings):
            return str(client.get_model_version_download_uri(version.name, str(version.version)))
    if version.name or version.run_id:
        return version.source
    return _pushed_from(settings, version.source)


def _pushed_from(settings: StoreSettings, uri: str) -> str:
    """Return the source of the version that was last pushed to a URI, empty if none was."""
    if not _is_remote(uri) or nothing_yet(settings):
        return ""
    try:
        tag = push_tag(str(parse_location(uri)))
    except InvalidInputError:
        return ""
    client = open_registry(settings, reading=True)
    with mlflow_errors(settings):
        versions = client.search_model_versions(f"tag.`{tag}` != ''")
        pushes = [
            (record.pushed_ms, each)
            for each in versions
            for record in push_records({tag: each.tags.get(tag, "")})
        ]
        if not pushes:
            return ""
        _, last = max(pushes, key=lambda pair: pair[0])
        return str(client.get_model_version_download_uri(last.name, last.version))


def _is_remote(uri: str) -> bool:
    scheme = urlsplit(uri).scheme
    return scheme in STORES and scheme != "file"
