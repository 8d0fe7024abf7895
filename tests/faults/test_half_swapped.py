"""A server killed in the middle of a swap: the journal knows a revision that never answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import gather
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion


def test_the_report_is_about_the_revision_that_came_back(tmp_path: Path) -> None:
    model = ModelVersion(ref="m", label="m/1", source="/m", name="m", version=1)
    one = DeploymentSpec("wine", (Arm("a", model, 0.5), Arm("b", model, 0.5)))
    other = replace(one, arms=(Arm("c", model, 1.0),))
    journal = SqlJournal(f"sqlite:///{tmp_path / 'wine.db'}")
    for time_ms, (number, event, spec) in enumerate(
        [(1, "started", one), (2, "live", other), (1, "started", one)]
    ):
        journal.record([RevisionEvent(number, time_ms, event, to_dict(spec))])
    evidence = gather(journal)
    journal.close()
    assert evidence.spec == one
    assert evidence.revisions == (1,)
