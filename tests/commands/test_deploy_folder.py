"""A model folder that a later training rewrites: what was deployed or scored stays what it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mlops.registry.artifact_digest import read_content
from mlops.stats.outlier_document import OUTLIER_FILE
from tests.fixtures_deployment import Shop
from tests.serving.models import COLUMNS, ROWS, save_detector, save_linear
from tests.waiting import wait_until

_PAIR = ("deploy", "--ab", "./model", "./other", "--json")


@pytest.fixture
def folders(ready_folder: Path) -> Iterator[Shop]:
    """Return a project with two models that were saved to folders, and rows to score."""
    save_linear(ready_folder / "model", [1.0, 0.0, 0.0])
    save_linear(ready_folder / "other", [0.0, 1.0, 0.0])
    lines = [",".join(COLUMNS), *(",".join(map(str, row)) for row in ROWS)]
    (ready_folder / "rows.csv").write_text("\n".join(lines) + "\n")
    shop = Shop(ready_folder, "pair")
    (ready_folder / "mlops.toml").write_text('[deploy]\nname = "pair"\n')
    yield shop
    shop.close()


def retrain(shop: Shop, coefficients: Sequence[float]) -> None:
    """Write another model over the files of `./model`, as a training script does."""
    again = save_linear(shop.folder / "again", coefficients)
    for file in again.rglob("*"):
        if file.is_file():
            target = shop.folder / "model" / file.relative_to(again)
            target.parent.mkdir(exist_ok=True)
            # Into the file itself: whatever else leads to it changes too.
            target.write_bytes(file.read_bytes())
    shutil.rmtree(again)


def answers(shop: Shop) -> list[float]:
    """Return what the arm `model` answers."""
    body = {"dataframe_split": {"columns": list(COLUMNS), "data": ROWS}}
    answer, headers = shop.post("/invocations", body, x_mlops_arm="model")
    assert headers["x-mlops-arm"] == "model"
    predictions: list[float] = answer["predictions"]
    return predictions


def test_a_folder_that_is_rewritten_is_another_model(folders: Shop) -> None:
    digest = read_content(folders.folder / "model").digest
    assert folders.ok(*_PAIR).document["change"] == "create"
    first = answers(folders)
    assert first == pytest.approx([row[0] for row in ROWS])
    assert folders.ok(*_PAIR).document["change"] == "nothing"

    retrain(folders, [0.0, 0.0, 2.0])
    (status,) = folders.ok("status", "--json").document["deployments"]
    assert status["arms"][0]["version"] == str(folders.folder / "model")
    cached = list((folders.folder / ".mlops" / "cache" / "models").glob("*.json"))
    plan = folders.ok(*_PAIR, "--dry-run").document["plan"]
    assert plan["kind"] == "update"
    assert plan["lines"][0].startswith("~ model ")
    assert plan["lines"][0].endswith("(was other files, 50 %)")
    assert list((folders.folder / ".mlops" / "cache" / "models").glob("*.json")) == cached

    # Other shares of the same models, in memory as in the history; and after a restart.
    assert folders.ok("deploy", "--split", "80/20", "--json").document["revision"] == 2
    assert folders.ledger.contents(2)["model"] == digest
    assert answers(folders) == first
    folders.ok("stop")
    folders.ok("start")
    assert answers(folders) == first

    assert folders.ok(*_PAIR).document["change"] == "update"
    assert answers(folders) == pytest.approx([2 * row[2] for row in ROWS])
    assert folders.ledger.contents(3)["model"] == read_content(folders.folder / "model").digest
    shutil.rmtree(folders.folder / "model")
    folders.ok("rollback")
    assert answers(folders) == first


def test_a_revision_that_did_not_pin_its_folders_goes_on(
    folders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As revisions of folders were made by an earlier version.
    with monkeypatch.context() as before:
        before.setattr("mlops.registry.artifact_manifest.pin", lambda version, _: version)
        folders.ok(*_PAIR)
    first = answers(folders)
    assert folders.ok("deploy", "--json").document["change"] == "nothing"
    folders.ok("stop")
    folders.ok("start")
    # The same experiment.
    assert folders.ok("deploy", "--split", "80/20", "--json").document["revision"] == 2
    assert folders.ok("report", "--json").document["revisions"] == [1, 2]
    plan = folders.ok(*_PAIR, "--dry-run").document["plan"]
    assert plan["lines"][0].endswith("(was not pinned to its files, 80 %)")
    assert folders.ok(*_PAIR).document["revision"] == 3
    folders.ok("rollback")
    assert answers(folders) == first


def test_what_is_watched_is_that_of_the_model_that_serves(folders: Shop) -> None:
    save_detector(folders.folder / "model")
    folders.ok("deploy", "--model", "./model")
    folders.ask()

    def looked() -> bool:
        said = folders.run("monitor", "outliers", "--level", "0.5", "--json")
        return said.code == 0 and said.document["requests"] == 1

    wait_until(looked)
    # A training that stores no detector.
    (folders.folder / "model" / OUTLIER_FILE).unlink()
    retrain(folders, [0.0, 0.0, 2.0])
    report = folders.ok("monitor", "outliers", "--level", "0.5", "--json").document
    assert report["notes"] == []


def test_a_batch_is_not_resumed_with_another_model(folders: Shop) -> None:
    words = ("batch", "./model", "--data", "rows.csv", "--out", "scored", "--json")
    assert folders.ok(*words).document["rows"] == len(ROWS)
    assert folders.ok(*words).document["resumed"] == len(ROWS)
    retrain(folders, [0.0, 0.0, 2.0])
    refused = folders.run(*words)
    assert refused.code == 7
    assert "arms differ" in refused.error["message"]


def test_a_batch_that_an_earlier_version_began(folders: Shop) -> None:
    words = ("batch", "./model", "--data", "rows.csv", "--out", "scored", "--json")
    folders.ok(*words)
    file = folders.folder / "scored" / "_batch.json"
    document = json.loads(file.read_text())
    # It had no digest.
    document["arms"] = [arm[:-1] for arm in document["arms"]]
    file.write_text(json.dumps(document))
    refused = folders.run(*words)
    assert refused.code == 7
    assert "begun by an earlier mlops, which did not pin the model" in refused.error["message"]
    assert "another `--out`" in refused.error["hint"]
    document["arms"][0][0] = "another"
    file.write_text(json.dumps(document))
    assert "arms differ" in folders.run(*words).error["message"]


def test_the_copies_that_a_deployment_needs_stay(folders: Shop) -> None:
    def kept() -> list[list[str]]:
        models = folders.ok("cache", "list", "--json").document["models"]
        return sorted(model["kept_for"] for model in models)

    folders.ok("deploy", "--model", "./model")
    first = answers(folders)
    folders.ok("stop")
    retrain(folders, [0.0, 0.0, 2.0])
    assert folders.ok("cache", "clear", "--json").document["models"] == []
    folders.ok("start")
    assert answers(folders) == first
    # Those of the live revision and before, also where only shares changed; and no others.
    folders.ok("deploy", "--model", "./model")
    assert kept() == [["pair"], ["pair"]]
    folders.ok("stop")
    folders.ok("cache", "clear")
    folders.ok("rollback")
    assert answers(folders) == first
    assert kept() == [["pair"], ["pair"]]
    folders.ok("deploy", "--model", "./other")
    assert kept() == [[], ["pair"], ["pair"]]
    folders.ok("cache", "clear")
    assert kept() == [["pair"], ["pair"]]


def test_a_former_model_that_is_gone(folders: Shop) -> None:
    folders.ok("deploy", "--model", "./model")
    folders.ok("stop")
    retrain(folders, [0.0, 0.0, 2.0])
    shutil.rmtree(folders.folder / ".mlops" / "cache")
    said = folders.run("start", "--json")
    assert said.code == 7
    assert "holds another model now" in said.error["message"]
    assert said.error["hint"].startswith("Save the former model to the folder again")
