"""What the consumers `quality` and `outliers` found last, kept in the journal for the report."""

from __future__ import annotations

from dataclasses import dataclass

from mlops.journal.base import Journal
from mlops.monitoring.outliers import OutlierFold, Share
from mlops.monitoring.quality_watch import ALPHA, QualityFold, QualityReport
from mlops.stats.outlier_document import LEVEL


@dataclass(frozen=True, slots=True)
class OutlierPanel:
    """How many rows are unlike the training data.

    Attributes:
        level: Share of undrifted rows that is flagged.
        shares: By name of the arm.
    """

    level: float
    shares: dict[str, Share]


def read_quality(journal: Journal) -> QualityReport | None:
    """Read what is known of the quality of what is live; None if nothing was ever judged."""
    fold = QualityFold(journal, lambda _: {})
    if not fold.follow():
        return None
    report = fold.report("", ALPHA)
    return report if report.streams else None


def read_outliers(journal: Journal) -> OutlierPanel | None:
    """Read how many rows of what is live were flagged; None if none was looked at."""
    fold = OutlierFold(journal, lambda _: None)
    if not fold.follow():
        return None
    assert fold.live is not None
    arms = fold.live.arms.items()
    shares = {name: fold.shares[key] for name, (_, key) in arms if key in fold.shares}
    return OutlierPanel(LEVEL, shares) if any(each.rows for each in shares.values()) else None
