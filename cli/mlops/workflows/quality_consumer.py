"""Looking at the quality of answers beside the server: the consumer `quality` of the journal.

It answers as `mlops monitor quality` does, which continues from what is kept here.
"""

from __future__ import annotations

from typing import ClassVar

from mlops.journal.consumer_records import Alarm, Reading
from mlops.monitoring.quality_streams import QualityStream
from mlops.monitoring.quality_watch import ALPHA, CONSUMER, QualityFold, QualityReport
from mlops.spec import metrics as families
from mlops.spec.deployment import Arm
from mlops.workflows.validation import figures_by_command
from mlops.workflows.watching import Watching


class QualityConsumer(Watching[QualityReport]):
    """Folds truth into what is known of how good the live models' answers are."""

    of_outcomes: ClassVar[bool] = True
    _fold: QualityFold

    def _make_fold(self) -> QualityFold:
        return QualityFold(self._journal, lambda arm: figures_by_command(arm.model), self._clock)

    def _look(self) -> QualityReport:
        return self._fold.report(self._context.deployment, ALPHA)

    def _said(self, report: QualityReport) -> str:
        arms = ", ".join(f"`{arm}`" for arm in dict.fromkeys(each.arm for each in report.worse))
        worse = [f"The answers of {arms} are worse: `mlops monitor quality`."] if arms else []
        unknown = [f"`{each.arm}`: {each.unknown}" for each in report.judged if each.unknown]
        return " ".join((*worse, *unknown))

    def _arm(self, name: str) -> tuple[Arm, str]:
        assert self._fold.live is not None
        return self._fold.live.arms[name]

    def _alarms(self, report: QualityReport) -> list[Alarm]:
        judged = {each.arm: each for each in report.judged}
        return [
            Alarm(
                id=f"quality/{self._arm(each.arm)[1]}/{each.measure}",
                time_ms=each.since_ms or 0,
                consumer=CONSUMER,
                revision=report.revision,
                message=sentence(report.name, each, judged[each.arm].unknown),
                details={
                    "arm": each.arm,
                    "version": self._arm(each.arm)[0].model.public_label,
                    "measure": each.measure,
                    "reference": each.reference,
                    "recent": each.recent,
                    "unknown_labels": judged[each.arm].unknown_labels,
                    "alpha": report.alpha,
                },
            )
            for each in report.worse
        ]

    def _readings(self, report: QualityReport) -> list[Reading]:
        found = []
        for each in report.streams:
            arm = self._arm(each.arm)[0]
            labels = (arm.name, arm.model.label, each.measure)
            numbers = {
                families.QUALITY: each.recent,
                families.QUALITY_LIMIT: each.limit,
                families.QUALITY_E_VALUE: each.e_value,
                families.QUALITY_ALARM: float(each.alarm),
            }
            found += [Reading(f.name, labels, v) for f, v in numbers.items() if v is not None]
        for judged in report.judged:
            # Without any truth there is no time, and 0 would be one.
            if judged.up_to_ms is not None:
                arm = self._arm(judged.arm)[0]
                time_s = judged.up_to_ms / 1000
                name = families.QUALITY_JUDGED.name
                found.append(Reading(name, (arm.name, arm.model.label), time_s))
        return found


def sentence(deployment: str, stream: QualityStream, unknown: str = "") -> str:
    """Say what became worse.

    Args:
        deployment: Name of the deployment.
        stream: It alarms.
        unknown: What is known of labels that are none of the classes; empty for none.
    """
    more = f" {unknown}" if unknown else ""
    measure = stream.measure.replace("_", " ")
    now = "" if stream.recent is None else f" is {stream.recent:.3g} lately,"
    if stream.against == "zero":
        return (
            f"Quality at `{stream.arm}` of `{deployment}`. The probabilities miss what happens: "
            f"their mean difference{now} and should be 0.{more}"
        )
    before = "in validation" if stream.against == "validation" else "at first"
    return (
        f"Quality at `{stream.arm}` of `{deployment}`. The {measure}{now} and was "
        f"{stream.reference:.3g} {before}.{more}"
    )
