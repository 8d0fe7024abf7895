"""What is proposed once a version is registered."""

from __future__ import annotations

from pathlib import Path

from mlops.registry import open_registry
from mlops.registry.client import experiment_id
from mlops.registry.fetching import local_path
from mlops.training.registration import Registered, register_finished
from tests.fixtures_training import TrainedWine

_OF_TEXT = """
flavors: {python_function: {loader_module: nothing}}
signature:
  inputs: '[{"type": "string", "name": "review", "required": true}]'
  outputs: '[{"type": "string"}]'
"""


def _register(
    wine: TrainedWine, folder: Path, mlmodel: str, alias: str = "", auc: float | None = None
) -> Registered:
    """Register a model of which there is no more than what it says of itself."""
    folder.mkdir()
    (folder / "MLmodel").write_text(mlmodel)
    client = open_registry(wine.settings)
    run = client.create_run(experiment_id(client, wine.settings, "wine"))
    client.log_artifacts(run.info.run_id, str(folder), "model")
    if auc is not None:
        client.log_metric(run.info.run_id, "auc", auc)
    client.set_terminated(run.info.run_id)
    return register_finished(
        wine.settings, run.info.run_id, name="wine", aliases=[alias] if alias else []
    )


def test_only_models_that_fit_are_proposed_for_a_test(
    own_wine: TrainedWine, tmp_path: Path
) -> None:
    assert own_wine.second.model is not None
    folder = local_path(own_wine.second.model.source)
    assert folder is not None
    other = _register(own_wine, tmp_path / "text", _OF_TEXT, "text-a")
    assert other.next_commands == ("mlops deploy --model text-a",)
    # The one before it takes other columns, and the one before that the same.
    ours = _register(own_wine, tmp_path / "wine-like", (folder / "MLmodel").read_text())
    assert ours.next_commands == ("mlops deploy --ab wine/2 wine/4",)
    again = _register(own_wine, tmp_path / "text-again", _OF_TEXT, "text-b")
    assert again.next_commands == ("mlops deploy --ab text-a text-b",)


def test_the_best_is_proposed_against_the_champion(own_wine: TrainedWine, tmp_path: Path) -> None:
    aucs = [0.7, 0.9, 0.8]
    names = ["champion", "big", ""]
    made = [
        _register(own_wine, tmp_path / f"text-{auc}", _OF_TEXT, alias, auc)
        for auc, alias in zip(aucs, names, strict=True)
    ]
    assert made[1].next_commands == ("mlops deploy --ab champion big",)
    # Not the last two: the one before is better than this one.
    assert made[2].next_commands == ("mlops deploy --ab champion wine/4",)
    worst = _register(own_wine, tmp_path / "worst", _OF_TEXT, "stub", 0.5)
    assert worst.next_commands == ("mlops deploy --ab champion big",)
    # Without a metric to tell, this one.
    silent = _register(own_wine, tmp_path / "silent", _OF_TEXT)
    assert silent.next_commands == ("mlops deploy --ab champion wine/7",)
    # Of several that are equally good, the newest.
    tied = _register(own_wine, tmp_path / "tied", _OF_TEXT, auc=0.9)
    assert tied.next_commands == ("mlops deploy --ab champion wine/8",)
    open_registry(own_wine.settings).set_registered_model_alias("wine", "champion", "8")
    beaten = _register(own_wine, tmp_path / "beaten", _OF_TEXT, "late", 0.6)
    assert beaten.next_commands == ("mlops deploy --ab champion late",)
