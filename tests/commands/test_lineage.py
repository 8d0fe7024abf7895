"""From data to evidence, for models that were trained and revisions that the ledger holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from mlops.registry import open_registry, resolve
from mlops.registry.ledger import Intent, Ledger
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.refs import parse_ref
from tests.fixtures_training import Cli, TrainedWine

Capture = pytest.CaptureFixture[str]

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "lineage.v1.json").read_text()
)
EVIDENCE = {
    "verdict": {"decision": "promote", "winner": "b", "reason": "b is better", "n": 900},
    "revisions": [1],
    "arms": [{"name": "a", "mean": -0.5}, {"name": "b", "mean": -0.25}],
}


@pytest.fixture
def promoted(own_wine: TrainedWine) -> TrainedWine:
    """Return the wine project after an A/B test that wine/2 has won."""
    client = open_registry(own_wine.settings)
    arms = tuple(
        Arm(name, resolve(client, own_wine.settings, parse_ref(ref)), 0.5)
        for name, ref in (("a", "wine/1"), ("b", "wine/2"))
    )
    both = DeploymentSpec("shop", arms)
    ledger = Ledger(client, own_wine.settings, "shop")
    ledger.commit(ledger.begin(Intent("deploy", both), 0), 1)
    intent = Intent("promote", both.only("b"), "b is better", evidence=EVIDENCE)
    ledger.commit(ledger.begin(intent, 1), 2)
    return own_wine


def test_winner_and_loser_know_what_was_decided(
    cli: Cli, promoted: TrainedWine, capsys: Capture
) -> None:
    found = {}
    for label in ("wine/1", "wine/2"):
        assert cli(promoted.folder, "lineage", label, "--json") == 0
        found[label] = json.loads(capsys.readouterr().out)
        jsonschema.validate(found[label], SCHEMA)
    (lost,) = found["wine/1"]["deployments"]
    assert (lost["revision"], lost["state"], lost["weight"]) == (1, "replaced", 0.5)
    assert lost["evidence"] == [
        {
            "revision": 2,
            "decision": "promote",
            "winner": "b",
            "reason": "b is better",
            "n": 900,
            "mean": -0.5,
        }
    ]
    first, second = found["wine/2"]["deployments"]
    assert first["evidence"][0]["mean"] == -0.25
    assert (second["revision"], second["state"], second["weight"]) == (2, "live", 1)
    assert second["evidence"] == []


def test_data_run_and_profile(cli: Cli, trained_wine: TrainedWine, capsys: Capture) -> None:
    assert cli(trained_wine.folder, "lineage", "modelA", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    (data,) = document["data"]
    assert (data["name"], data["context"], data["rows"]) == ("wines", "training", 1199)
    assert data["source"] == str(trained_wine.folder / "data" / "train.csv")
    run = document["run"]
    assert run["run_id"] == trained_wine.first.run_id
    assert run["params"] == {"alpha": "0.1", "l1_ratio": "0.1"}
    assert [uri.rpartition("/")[2] for uri in run["records"]] == [
        "environment.txt",
        "provenance.json",
    ]
    assert document["profile"]["features"] == 11
    assert document["aliases"] == ["modelA"]


def test_the_tree_fits_a_terminal(
    cli: Cli, promoted: TrainedWine, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli(promoted.folder, "lineage", "wine/2") == 0
    out = capsys.readouterr().out
    order = ["data", "run", "model", "deployment shop", "revision 1", "evidence", "revision 2"]
    places = [out.index(f"── {word}") for word in order]
    assert out.startswith("wine/2 @modelB")
    assert places == sorted(places)
    assert max(map(len, out.splitlines())) <= 80


def test_a_model_that_was_not_trained_here(
    cli: Cli, own_wine: TrainedWine, capsys: Capture, tmp_path: Path
) -> None:
    model = own_wine.first.model
    assert model is not None
    shutil.copytree(model.source.removeprefix("file://"), own_wine.folder / "copy")
    (own_wine.folder / "copy" / "reference_profile.json").write_text("{}")
    assert cli(own_wine.folder, "lineage", "./copy", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    assert (document["run"], document["profile"], document["deployments"]) == (None, None, [])
    assert cli(own_wine.folder, "lineage", "./copy") == 0
    assert cli(own_wine.folder, "lineage", "wien") == 5
