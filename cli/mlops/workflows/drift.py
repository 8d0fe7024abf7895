"""`mlops monitor drift`: whether requests still look like what the live models were trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlops.deployment.journals import open_journal
from mlops.deployment.runtime_files import pick_name, places, read_server_state
from mlops.errors import MlopsError, NotFoundError
from mlops.monitoring.drift import DriftReport, watch
from mlops.registry.details import read_model_file
from mlops.settings import Settings
from mlops.spec.deployment import DeploymentSpec
from mlops.stats.profile_document import PROFILE_FILE, from_json
from mlops.stats.profiles import FeatureProfile


def look_for_drift(
    settings: Settings,
    name: str | None,
    alpha: float,
    on_progress: Callable[[int], None] = lambda _: None,
) -> tuple[DriftReport, tuple[str, ...]]:
    """Compare all requests in the journal with the training data of the live models.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        alpha: Probability of any alarm, ever, without drift.
        on_progress: Called with the number of requests read.

    Returns:
        What was found, and notes about what could not be compared.

    Raises:
        NotFoundError: There is no such deployment, or it has answered no request yet.
        RemoteError: The journal cannot be read.
    """
    picked = pick_name(settings, name)
    notes: list[str] = []
    journal = open_journal(settings, picked, read_server_state(places(settings, picked)))
    try:
        found = watch(journal, picked, lambda spec: _profiles(spec, notes), alpha, on_progress)
    finally:
        journal.close()
    if found is None or not found.requests:
        raise NotFoundError(
            f"`{picked}` has answered no request yet.", hint=f"`mlops predict {picked} …`"
        )
    return found, tuple(notes)


def _profiles(spec: DeploymentSpec, notes: list[str]) -> Mapping[str, Mapping[str, FeatureProfile]]:
    found: dict[str, Mapping[str, FeatureProfile]] = {}
    for arm in spec.arms:
        try:
            text = None if arm.model.endpoint else read_model_file(arm.model.source, PROFILE_FILE)
            if text is not None:
                found[arm.name] = from_json(text).features
                continue
            why = "its model has no reference profile"
        except MlopsError as error:
            why = error.message
        notes.append(
            f"`{arm.name}` is compared with its first requests, not with training data: {why}."
        )
    return found
