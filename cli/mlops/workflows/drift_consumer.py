"""Looking for drift beside the server, request by request: the consumer `drift` of the journal.

What it has seen is a fold of the journal, kept in the journal: it goes on where it was after a
restart, on another machine too, and after features were pruned. It answers as `mlops monitor drift`
does, which goes on from what is kept here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from mlops.consumers.base import Batch, Consumed, Context
from mlops.errors import RemoteError
from mlops.journal.memory import READINGS, as_document
from mlops.journal.records import Alarm, Offset, Reading
from mlops.monitoring.drift import ALPHA, CONSUMER, DriftFold, DriftReport, Features
from mlops.monitoring.drift_panel import REPORT, report_document
from mlops.monitoring.drift_streams import Stream
from mlops.settings.schema import season_ms
from mlops.spec import metrics as families
from mlops.spec.deployment import Arm
from mlops.spec.server import read_state
from mlops.workflows.drift_features import features_of

_AT_ONCE = 20_000
_SAVE_EVERY_S = 5.0


class DriftConsumer:
    """Folds requests into what is known of the live models' features and answers.

    Args:
        context: Its options: `state_file`, which says where the models' files are, and `season`.
        clock: Seconds since 1970.
    """

    # It has offsets of its own, one for each model, and reads no outcomes.
    start: ClassVar[Literal["beginning", "end"]] = "end"
    looks_only: ClassVar[bool] = True

    def __init__(self, context: Context, clock: Callable[[], float] = time.time) -> None:
        self._context, self._clock = context, clock
        self._journal = context.journal
        season = season_ms(context.options.get("season", ""))
        self._fold = DriftFold(self._journal, self._features, season)
        self._save_at = 0.0
        self._raised: set[str] = set()
        self._warning = ""

    def consume(self, batch: Batch) -> Consumed:
        """See `Consumer.consume`."""
        end = self._journal.end()
        if not self._fold.follow():
            return Consumed()
        taken = self._fold.read(end.decisions, _AT_ONCE)
        behind = self._fold.offset < end.decisions
        if self._clock() >= self._save_at and (taken or not self._save_at):
            self._save()
            # What takes long is done more rarely.
            self._save_at = self._clock() + _SAVE_EVERY_S
        offset = Offset(self._fold.offset, end.outcomes)
        return Consumed(taken, warning=self._warning, offset=offset, behind=behind)

    def _save(self) -> None:
        now_ms = int(self._clock() * 1000)
        report = self._fold.report(self._context.deployment, ALPHA)
        new = [alarm for alarm in self._alarms(report) if alarm.id not in self._raised]
        self._journal.raise_alarms(new)
        self._raised.update(alarm.id for alarm in new)
        parts: dict[str, Any] = {
            READINGS: as_document(self._readings(report)),
            REPORT: report_document(report, now_ms),
        }
        self._fold.save(now_ms, parts)
        names = ", ".join(f"`{name}`" for name in dict.fromkeys(s.feature for s in report.drifted))
        self._warning = f"Drift in {names}: `mlops monitor drift`." if names else ""

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
        for each in report.streams:
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
        served = read_state(Path(self._context.options["state_file"])).launch.served
        models = zip(served.revision.spec.models, served.paths, strict=True)
        paths = {model.identity: path for model, path in models}
        path = paths.get(arm.model.identity)
        if path is None:
            # The journal knows of it before the server says so.
            raise RemoteError(f"The server has not said yet where the model of `{arm.name}` is.")
        return features_of(arm.model, Path(path)).features

    def close(self) -> None:
        """See `Consumer.close`."""


def sentence(deployment: str, stream: Stream) -> str:
    """Say what drifted.

    Args:
        deployment: Name of the deployment.
        stream: It alarms.
    """
    what = (
        "What it answers"
        if stream.feature == families.PREDICTION
        else f"The feature `{stream.feature}`"
    )
    before = "its training data" if stream.against == "training" else "its first requests"
    size = "" if math.isnan(stream.psi) else f" (PSI {stream.psi:.2f})"
    return f"Drift at `{stream.arm}` of `{deployment}`. {what} no longer looks like {before}{size}."
