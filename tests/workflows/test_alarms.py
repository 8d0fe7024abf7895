"""What becomes of alarms never keeps a report from its reader."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from mlops.deployment.recording import trail_of
from mlops.monitoring.report import Report
from mlops.settings import load_settings
from mlops.workflows.alarms import record_alarms


def test_a_trail_that_cannot_be_read(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    trail_of(settings, "wine").path.mkdir(parents=True)
    report = SimpleNamespace(
        name="wine",
        experiment="e",
        revisions=(1,),
        gates=(),
        verdict=SimpleNamespace(decision="withheld", reason="Few."),
    )
    record_alarms(settings, cast(Report, report))
