"""Rows unlike those that the models were trained on, among the newest."""

from __future__ import annotations

from typing import Any

from mlops.errors import NotFoundError
from mlops.live_page.looking import NEWEST, Look
from mlops.live_page.request_ids import id_of
from mlops.live_page.templates import render
from mlops.monitoring.outliers import find_outliers
from mlops.spec.deployment import Arm
from mlops.stats.outlier_document import LEVEL, RowDetector, read_detector

_MOST = 10


def outliers(look: Look) -> str:
    """Write the part."""

    def detector(arm: Arm) -> RowDetector | None:
        folder = look.folder(arm)
        return read_detector(folder) if folder else None

    found = find_outliers(look.journal, detector, LEVEL, NEWEST)
    if found is None or not found.shares:
        raise NotFoundError(
            "The models have no detector of outliers: `mlops train` stores one where it knows the "
            "training table, of 200 rows or more."
        )
    return render(
        "outliers",
        level=LEVEL,
        requests=found.requests,
        shares=found.shares,
        colors={arm.name: index for index, arm in enumerate(look.spec.arms)},
        flagged=[(each, id_of(look.source, each)) for each in found.flagged[:_MOST]],
        count=len(found.flagged),
        features=_often(found.flagged),
    )


def _often(flagged: Any) -> list[tuple[str, int]]:  # noqa: ANN401 - rows that were flagged
    """Count which features made rows unusual."""
    counts: dict[str, int] = {}
    for each in flagged:
        for name, _ in each.features:
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])[:6]
