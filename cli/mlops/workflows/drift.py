"""`mlops monitor drift`: whether requests still look like what the live models were trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from mlops.deployment.locate import locate
from mlops.errors import InvalidInputError, MlopsError, NotFoundError
from mlops.monitoring.drift import DriftReport, watch
from mlops.registry.details import read_details, read_model_file
from mlops.settings import Settings
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.model import ModelVersion
from mlops.stats.profile_document import PROFILE_FILE, from_json
from mlops.stats.profiles import FeatureProfile
from mlops.workflows.evidence import open_evidence


def look_for_drift(
    settings: Settings,
    name: str | None,
    alpha: float,
    on_progress: Callable[[int], None] = lambda _: None,
) -> DriftReport:
    """Compare all requests in the journal with the training data of the live models.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        alpha: Probability of any alarm, ever, without drift.
        on_progress: Called with the number of requests read.

    Raises:
        InvalidInputError: `alpha` is no number.
        NotFoundError: There is no such deployment, its journal is not here, or it has answered no
            request yet.
        ConflictError: Its servers keep no journal.
        RemoteError: The journal cannot be read.
    """
    if not math.isfinite(alpha):
        raise InvalidInputError(f"`--alpha {alpha}` is no number.")
    located = locate(settings, name)
    notes: list[str] = []
    journal, _ = open_evidence(settings, located)
    try:
        found = watch(
            journal, located.name, lambda spec: _features(spec, notes), alpha, on_progress
        )
    finally:
        journal.close()
    if found is None or not found.requests:
        raise NotFoundError(
            f"`{located.name}` has answered no request yet.",
            hint=f"`mlops predict {located.name} …`",
        )
    if found.without_features:
        notes.append(
            f"{found.without_features:,} requests have no features in the journal: not kept, or "
            "pruned. Only their answers were looked at."
        )
    return replace(found, notes=tuple(notes))


def _features(
    spec: DeploymentSpec, notes: list[str]
) -> Mapping[str, Mapping[str, FeatureProfile | None]]:
    """Return what is known of each feature of each arm, and note what is not."""
    found: dict[str, Mapping[str, FeatureProfile | None]] = {}
    for arm in spec.arms:
        found[arm.name], why = _of_model(arm.model)
        if why:
            known = "its first requests" if found[arm.name] else "its first answers"
            notes.append(f"`{arm.name}` is compared with {known}, not with training data: {why}.")
    return found


def _of_model(model: ModelVersion) -> tuple[Mapping[str, FeatureProfile | None], str]:
    """Return the features of a model, and why there is no profile of them."""
    if model.endpoint:
        return {}, "another server has the model"
    try:
        text = read_model_file(model.source, PROFILE_FILE)
        if text is not None:
            return from_json(text).features, ""
        columns = read_details(model.source).inputs or ()
    except MlopsError as error:
        return {}, error.message.removesuffix(".")
    names = [column.name for column in columns if column.name]
    return dict.fromkeys(names), "its model has no reference profile"
