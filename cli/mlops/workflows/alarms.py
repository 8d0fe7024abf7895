"""Alarms of a report in the audit trail: a verdict that is withheld or invalid, and why."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from mlops.deployment.recording import event_now, recorded, trail_of
from mlops.errors import MlopsError
from mlops.monitoring.report import Report
from mlops.settings import Settings

_ALARMING = ("withheld", "invalid")


def record_alarms(settings: Settings, report: Report) -> None:
    """Record once that a verdict is withheld or invalid, for each set of reasons.

    A report is shown even if that fails.

    Args:
        settings: The project's settings.
        report: What was found.
    """
    verdict = report.verdict
    if verdict.decision not in _ALARMING:
        return
    shut = sorted(gate.name for gate in report.gates if not gate.passed)
    about = "+".join(shut) or "sample ratio"
    key = f"alarm/{report.experiment}/{report.revisions[-1]}/{verdict.decision}/{about}"
    with contextlib.suppress(MlopsError, OSError):
        if key in trail_of(settings, report.name).known().ids:
            return
        event = event_now(
            "alarm",
            f"verdict of revision {report.revisions[-1]} is {verdict.decision}: {about}",
            after={"decision": verdict.decision, "conditions": shut},
            evidence={"reason": verdict.reason},
        )
        with recorded(settings, report.name, replace(event, id=key), ask_mlflow=False):
            pass
