"""`mlops monitor drift`: whether requests still look like what the live models were trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from mlops.deployment.locate import locate
from mlops.errors import InvalidInputError
from mlops.monitoring.drift import DriftReport, Features, watch
from mlops.registry.fetching import cached_folder
from mlops.settings import Settings
from mlops.settings.schema import season_ms
from mlops.spec.deployment import Arm
from mlops.workflows.drift_features import features_of
from mlops.workflows.evidence import open_evidence, unanswered


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
        InvalidInputError: `alpha` is not a number.
        NotFoundError: There is no such deployment, its journal is not here, or it has answered no
            request yet.
        ConflictError: Its servers keep no journal.
        RemoteError: The journal cannot be read.
    """
    if not math.isfinite(alpha):
        raise InvalidInputError(f"`--alpha {alpha}` is not a number.")
    located = locate(settings, name)
    notes: list[str] = []

    def features(arm: Arm) -> Features:
        known = features_of(arm.model, cached_folder(arm.model, settings))
        if known.why_not:
            with_ = "requests" if known.features else "answers"
            notes.append(
                f"`{arm.name}` is compared with its first {with_}, not with training data: "
                f"{known.why_not}."
            )
        return known.features

    journal, _ = open_evidence(settings, located)
    try:
        found = watch(
            journal, located.name, features, alpha, on_progress, season_ms(settings.watch.season)
        )
    finally:
        journal.close()
    if found is None or not found.requests:
        raise unanswered(located.name)
    if found.without_features:
        notes.append(
            f"{found.without_features:,} requests have no features in the journal: not kept, or "
            "pruned. Only their answers were looked at."
        )
    return replace(found, notes=(*found.notes, *notes))
