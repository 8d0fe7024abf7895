"""A spec whose models a cluster can fetch, and what their files say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlops.deployment.request import DeployRequest
from mlops.deployment.rewarding import settle_reward
from mlops.deployment.spec_making import check_columns, make_spec
from mlops.deployment.targets.names import models_of
from mlops.deployment.targets.sources import stays_here
from mlops.errors import MlopsError, NotAllowedError, RemoteError
from mlops.registry.artifact_manifest import look
from mlops.registry.artifact_replicas import pushed_copy, readable_source
from mlops.registry.details import Details, read_details
from mlops.registry.stores import open_store
from mlops.registry.stores.access import QUICK
from mlops.registry.stores.base import parse_location
from mlops.settings.needs import RolloutSettings, StoreSettings
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.model import ModelVersion


def make_fetchable(
    settings: RolloutSettings, request: DeployRequest, *, pins: bool = False
) -> tuple[DeploymentSpec, list[str]]:
    """Make a spec, with pushed copies in place of models that no cluster can fetch.

    Args:
        settings: The project's settings.
        request: What is asked for.
        pins: Whether fetched models are compared with the digests of the spec.

    Returns:
        The spec, and a sentence for each copy, and for each model that cannot be pinned.

    Raises:
        NotFoundError: A model does not exist.
        InvalidInputError: The spec cannot be deployed.
    """
    made = make_spec(settings, request)
    check_columns(made)
    spec, said = settle_reward(made)
    notes = list(said)

    def fetchable(model: ModelVersion) -> ModelVersion:
        copy = pushed_copy(settings, model) if stays_here(model.source) else None
        if copy is None:
            return _pinned(settings, model, notes) if pins else model
        notes.append(f"`{model.ref}` is fetched from `{copy.uri}`, where {model.label} was pushed.")
        return replace(model, source=copy.uri, digest=copy.digest)

    arms = tuple(replace(each, model=fetchable(each.model)) for each in spec.arms)
    shadows = tuple(replace(each, model=fetchable(each.model)) for each in spec.shadows)
    return replace(spec, arms=arms, shadows=shadows), notes


def _pinned(settings: StoreSettings, model: ModelVersion, notes: list[str]) -> ModelVersion:
    """Note what is at a model's source now; a registered version can be replaced there too."""
    if model.digest or model.endpoint or parse_location(model.source).scheme not in ("s3", "gs"):
        return model
    try:
        store = open_store(model.source, settings, QUICK)
        try:
            return replace(model, digest=look(store).digest)
        finally:
            store.close()
    except MlopsError as error:
        notes.append(
            f"`{model.label}` is not pinned, and pods take whatever lies there: {error.message}"
        )
        return model


def read_models(
    settings: StoreSettings, spec: DeploymentSpec, read: Callable[[str], Details] = read_details
) -> tuple[dict[str, Details], list[str]]:
    """Read the files of models that the registry knows, and say which could not be read.

    A bare URI that it does not know is used as given, and rendering does not need access
    to the artifact store: the cluster must.
    """
    found, unread = {}, []
    for name, model in models_of(spec).items():
        if model.endpoint and not model.remote:
            continue
        try:
            source = readable_source(settings, model)
            if source:
                found[name] = read(source)
        except (RemoteError, NotAllowedError) as error:
            unread.append(error.message)
    return found, unread
