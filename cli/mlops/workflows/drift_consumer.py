"""Looking for drift beside the server, request by request: the consumer `drift` of the journal.

What it has seen is a fold of the journal, kept in the journal: it continues where it was after a
restart, on another machine too, and after features were pruned. It answers as `mlops monitor drift`
does, which continues from what is kept here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlops.journal.consumer_records import Alarm, Reading
from mlops.monitoring.drift import ALPHA, CONSUMER, DriftFold, DriftReport, Features
from mlops.monitoring.drift_panel import REPORT, report_document
from mlops.monitoring.drift_streams import Stream
from mlops.settings.schema import season_ms
from mlops.spec import metrics as families
from mlops.spec.deployment import Arm
from mlops.stats import joint
from mlops.workflows.drift_features import features_of
from mlops.workflows.watching import Watching


class DriftConsumer(Watching[DriftReport]):
    """Folds requests into what is known of the live models' features and answers."""

    _fold: DriftFold

    def _make_fold(self) -> DriftFold:
        season = season_ms(self._context.options.get("season", ""))
        return DriftFold(self._journal, self._features, season)

    def _look(self) -> DriftReport:
        return self._fold.report(self._context.deployment, ALPHA)

    def _parts(self, report: DriftReport, now_ms: int) -> Mapping[str, Any]:
        return {REPORT: report_document(report, now_ms)}

    def _said(self, report: DriftReport) -> str:
        names = ", ".join(f"`{name}`" for name in dict.fromkeys(s.feature for s in report.drifted))
        return f"Drift in {names}: `mlops monitor drift`." if names else ""

    def _alarms(self, report: DriftReport) -> list[Alarm]:
        return [
            Alarm(
                id=f"drift/{self._fold.arms[each.arm][1]}/{each.feature}",
                time_ms=each.since_ms or 0,
                consumer=CONSUMER,
                revision=report.revision,
                message=sentence(report.name, each),
                details={
                    "arm": each.arm,
                    "version": self._fold.arms[each.arm][0].model.public_label,
                    "feature": each.feature,
                    "psi": None if math.isnan(each.psi) else each.psi,
                    "alpha": report.alpha,
                },
            )
            for each in report.drifted
        ]

    def _readings(self, report: DriftReport) -> list[Reading]:
        found = []
        for each in report.shown:
            arm = self._fold.arms[each.arm][0]
            labels = (arm.name, arm.model.label, each.feature)
            found += [
                Reading(families.DRIFT_E_VALUE.name, labels, each.e_value),
                Reading(families.DRIFT_ALARM.name, labels, float(each.alarm)),
            ]
            if not math.isnan(each.psi):
                found.append(Reading(families.DRIFT_PSI.name, labels, each.psi))
        return found

    def _features(self, arm: Arm) -> Features:
        if arm.model.endpoint:
            return {}
        return features_of(arm.model, self._folder(arm)).features


def sentence(deployment: str, stream: Stream) -> str:
    """Say what drifted.

    Args:
        deployment: Name of the deployment.
        stream: It alarms.
    """
    kind = "statistic" if stream.feature == joint.ALL else "feature"
    what = (
        "What it answers"
        if stream.feature == families.PREDICTION
        else f"The {kind} `{stream.feature}`"
    )
    before = "its training data" if stream.against == "training" else "its first requests"
    size = "" if math.isnan(stream.psi) else f" (PSI {stream.psi:.2f})"
    return f"Drift at `{stream.arm}` of `{deployment}`. {what} no longer looks like {before}{size}."
