"""Counting outliers beside the server: the consumer `outliers` of the journal."""

from __future__ import annotations

from collections.abc import Mapping

from mlops.journal.consumer_records import Alarm, Reading
from mlops.monitoring.outliers import OutlierFold, Share
from mlops.spec import metrics as families
from mlops.spec.deployment import Arm
from mlops.stats.outlier_document import RowDetector, read_detector
from mlops.workflows.watching import Watching


class OutliersConsumer(Watching[Mapping[str, Share]]):
    """Folds requests into shares of rows that are flagged; it raises no alarm."""

    _fold: OutlierFold

    def _make_fold(self) -> OutlierFold:
        return OutlierFold(self._journal, self._detector)

    def _look(self) -> Mapping[str, Share]:
        return self._fold.shares

    def _said(self, report: Mapping[str, Share]) -> str:
        return ""

    def _alarms(self, report: Mapping[str, Share]) -> list[Alarm]:
        return []

    def _readings(self, report: Mapping[str, Share]) -> list[Reading]:
        assert self._fold.live is not None
        found = []
        for arm, key in self._fold.live.arms.values():
            share, labels = report.get(key), (arm.name, arm.model.label)
            if share is not None and share.lately is not None:
                found += [
                    Reading(families.OUTLIER_SHARE.name, labels, share.lately),
                    Reading(families.OUTLIER_ROWS.name, labels, float(share.flagged)),
                ]
        return found

    def _detector(self, arm: Arm) -> RowDetector | None:
        if arm.model.endpoint:
            return None
        return read_detector(self._folder(arm))
