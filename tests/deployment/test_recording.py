"""Trails of several projects that share one MLflow, and what a trail takes over from its ledger."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mlops.audit.heads import read_heads
from mlops.audit.verifying import Verification, verify
from mlops.deployment.recording import event_now, record, recorded, trail_of
from mlops.errors import MlopsError
from mlops.registry import open_registry
from mlops.registry.ledger import Intent, Ledger
from mlops.settings import Settings, load_settings
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion


def intent(weight: float) -> Intent:
    models = [ModelVersion(f"wine/{n}", f"wine/{n}", f"/models/{n}", "wine", n) for n in (1, 2)]
    arms = (Arm("a", models[0], weight), Arm("b", models[1], 1 - weight))
    return Intent("deploy", DeploymentSpec("wine", arms), reason=f"a at {weight}")


@pytest.fixture
def ann(ready_folder: Path) -> Settings:
    return load_settings(ready_folder, environ={})


@pytest.fixture
def bob(ann: Settings, tmp_path: Path) -> Settings:
    """Another project, whose MLflow is Ann's."""
    folder = tmp_path / "bob"
    folder.mkdir()
    (folder / "mlops.toml").write_text("")
    return load_settings(folder, environ={"MLFLOW_TRACKING_URI": ann.tracking_uri})


def ledger_of(settings: Settings) -> Ledger:
    return Ledger(open_registry(settings), settings, "wine")


def deploy(settings: Settings, weight: float) -> None:
    ledger = ledger_of(settings)
    number = ledger.begin(intent(weight), max(ledger.numbers(), default=0))
    ledger.commit(number, 1_700_000_000_000 + number)


def check(settings: Settings) -> Verification:
    ledger = ledger_of(settings)
    return verify("wine", trail_of(settings, "wine").lines(), read_heads(ledger), ledger.place)


def revisions(settings: Settings) -> list[str]:
    entries = trail_of(settings, "wine").entries()
    return [entry.id for entry in entries if entry.id.startswith("revision/")]


def test_each_project_has_a_trail_with_all_changes_of_the_ledger(
    ann: Settings, bob: Settings
) -> None:
    deploy(ann, 0.5)
    assert record(ann, "wine").faults == ()
    deploy(bob, 0.7)
    record(bob, "wine")
    record(ann, "wine")
    both = ["revision/1/live", "revision/2/live"]
    assert revisions(ann) == revisions(bob) == both
    for settings in (ann, bob):
        found = check(settings)
        assert (found.result, found.anchored) == ("whole", found.entries)
    assert check(ann).trail != check(bob).trail
    second = trail_of(ann, "wine").entries()[-1].document
    assert second["before"] == {"revision": 1}
    # Each revision keeps the heads of those who wrote it down.
    assert len(read_heads(ledger_of(ann))) == 2 + 2 * 2
    # One that loses its trail does not make the other's damaged.
    trail_of(bob, "wine").path.unlink()
    record(bob, "wine")
    assert check(ann).result == "whole"
    assert check(bob).result == "damaged"


def test_what_became_of_each_revision_is_told_once(ann: Settings) -> None:
    ledger = ledger_of(ann)
    deploy(ann, 0.5)
    failed = ledger.begin(intent(0.6), 1)
    record(ann, "wine")
    assert revisions(ann) == ["revision/1/live"]
    ledger.abandon(failed, "a model refused its example")
    record(ann, "wine")
    record(ann, "wine")
    assert revisions(ann) == ["revision/1/live", f"revision/{failed}/failed"]
    last = trail_of(ann, "wine").entries()[-1].document
    assert last["action"] == "deploy failed"
    assert last["evidence"]["error"] == "a model refused its example"
    ledger.stopped(1, 1_800_000_000_000)
    record(ann, "wine")
    stopped = trail_of(ann, "wine").entries()[-1].document
    assert (stopped["action"], stopped["subject"]) == ("stop", "revision 1")
    assert stopped["by"]["user"] == ledger.actor.user


def test_a_trail_that_cannot_be_written_stops_no_change(
    ann: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    path = trail_of(ann, "wine").path
    path.parent.mkdir()
    path.mkdir()
    with caplog.at_level(logging.WARNING), recorded(ann, "wine"):
        deploy(ann, 0.5)
    assert "audit trail of `wine`" in caplog.text
    # Whatever stands nowhere else is not done without.
    with pytest.raises(MlopsError, match="cannot be written"):
        record(ann, "wine", event_now("forget", "features"))
    path.rmdir()
    record(ann, "wine")
    assert revisions(ann) == ["revision/1/live"]
