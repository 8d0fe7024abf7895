from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlops.errors import NotFoundError
from mlops.registry import LEDGER_PREFIX, fetch, open_registry, resolve
from mlops.settings import load_settings
from mlops.spec.model import ModelVersion
from mlops.spec.refs import parse_ref
from tests.fixtures_training import TrainedWine

pytestmark = pytest.mark.usefixtures("clean_environ")


def _resolve(wine: TrainedWine, text: str) -> ModelVersion:
    return resolve(open_registry(wine.settings), wine.settings, parse_ref(text))


def _refused(wine: TrainedWine, text: str) -> NotFoundError:
    with pytest.raises(NotFoundError) as caught:
        _resolve(wine, text)
    return caught.value


def test_a_version_is_pinned_to_where_its_files_are(trained_wine: TrainedWine) -> None:
    found = _resolve(trained_wine, "wine/1")
    assert (found.label, found.name, found.version) == ("wine/1", "wine", 1)
    assert found.run_id == trained_wine.first.run_id
    assert found.chosen_by == ""
    assert (fetch(found, trained_wine.settings) / "MLmodel").is_file()


def test_a_bare_name_means_the_newest_until_there_is_a_champion(own_wine: TrainedWine) -> None:
    newest = _resolve(own_wine, "wine")
    assert (newest.label, newest.chosen_by) == ("wine/2", "newest version")
    open_registry(own_wine.settings).set_registered_model_alias("wine", "champion", "1")
    champion = _resolve(own_wine, "wine")
    assert (champion.label, champion.chosen_by) == ("wine/1", "alias champion")


def test_the_newest_version_is_not_the_last_in_the_alphabet(own_wine: TrainedWine) -> None:
    client = open_registry(own_wine.settings)
    source = _resolve(own_wine, "wine/1").source
    for _ in range(9):
        client.create_model_version("wine", source)
    assert _resolve(own_wine, "wine").label == "wine/11"


@pytest.mark.parametrize("text", ["wine@modelA", "models:/wine@modelA", "models:/wine/1"])
def test_aliases_and_mlflows_own_way_of_writing(trained_wine: TrainedWine, text: str) -> None:
    found = _resolve(trained_wine, text)
    assert (found.label, found.ref) == ("wine/1", text)


def test_an_alias_of_the_projects_model_needs_no_model_name(trained_wine: TrainedWine) -> None:
    found = _resolve(trained_wine, "modelB")
    assert (found.label, found.chosen_by) == ("wine/2", "alias of wine")


def test_a_registered_model_wins_over_an_alias_of_that_name(own_wine: TrainedWine) -> None:
    client = open_registry(own_wine.settings)
    client.create_registered_model("modelA")
    client.create_model_version("modelA", _resolve(own_wine, "wine/2").source)
    assert _resolve(own_wine, "modelA").label == "modelA/1"


def test_a_model_of_a_run(trained_wine: TrainedWine) -> None:
    run_id = trained_wine.first.run_id
    found = _resolve(trained_wine, f"runs:/{run_id}/model")
    assert found.run_id == run_id
    assert found.name == ""
    assert found.source == _resolve(trained_wine, "wine/1").source
    assert "Did you mean `model`?" in (_refused(trained_wine, f"runs:/{run_id}/modle").hint or "")
    assert "nosuchrun" in _refused(trained_wine, "runs:/nosuchrun/model").message


@pytest.mark.parametrize("path", ["model", "deep/in/model"])
def test_a_model_among_the_artifacts_of_a_run_as_mlflow_2_left_it(
    own_wine: TrainedWine, path: str
) -> None:
    client = open_registry(own_wine.settings)
    experiment = client.create_experiment("old", artifact_location=str(own_wine.folder / "old"))
    run_id = client.create_run(experiment).info.run_id
    files = fetch(_resolve(own_wine, "wine/1"), own_wine.settings)
    client.log_artifacts(run_id, str(files), path)
    found = _resolve(own_wine, f"runs:/{run_id}/{path}")
    assert (fetch(found, own_wine.settings) / "MLmodel").is_file()


def test_an_mlflow_3_model_id(trained_wine: TrainedWine) -> None:
    source = _resolve(trained_wine, "wine/1").source
    model_id = next(part for part in source.split("/") if part.startswith("m-"))
    assert _resolve(trained_wine, f"models:/{model_id}").source == source


def test_a_folder_and_a_uri(
    trained_wine: TrainedWine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fetch(_resolve(trained_wine, "wine/1"), trained_wine.settings)
    shutil.copytree(files, tmp_path / "saved model")
    monkeypatch.chdir(tmp_path)
    folder = _resolve(trained_wine, "./saved model")
    assert folder.source == str(tmp_path / "saved model")
    uri = _resolve(trained_wine, (tmp_path / "saved model").as_uri())
    assert fetch(uri, trained_wine.settings) == tmp_path / "saved model"
    assert "no `MLmodel` file" in _refused(trained_wine, "./").message
    assert _resolve(trained_wine, "s3://bucket/model/").source == "s3://bucket/model"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("wien/1", "no model `wien`", "Did you mean `wine`?"),
        ("zzz/1", "no model `zzz`", "Registered: `wine`."),
        ("wine/7", "no version 7", "Its versions: 2, 1."),
        ("wine@modlA", "no alias `modlA`", "Did you mean `modelA`?"),
        ("wine@zzz", "no alias `zzz`", "Its aliases: `modelA` or `modelB`."),
        ("modelC", "neither a registered model nor an alias of `wine`", "Did you mean"),
        ("zzz", "neither a registered model nor an alias of `wine`", "mlops models alias wine/"),
    ],
)
def test_what_does_not_exist_names_the_closest(
    trained_wine: TrainedWine, text: str, message: str, hint: str
) -> None:
    error = _refused(trained_wine, text)
    assert message in error.message
    assert hint in (error.hint or "")


def test_the_ledger_is_not_among_the_closest(own_wine: TrainedWine) -> None:
    open_registry(own_wine.settings).create_registered_model(f"{LEDGER_PREFIX}zzz")
    assert LEDGER_PREFIX not in (_refused(own_wine, "zzz/1").hint or "")


def test_an_empty_registry_says_how_to_fill_it(ready_folder: Path) -> None:
    settings = load_settings(ready_folder, environ={})
    with pytest.raises(NotFoundError) as caught:
        resolve(open_registry(settings), settings, parse_ref("wine"))
    assert "mlops train" in (caught.value.hint or "")


def test_a_model_whose_files_are_gone_is_named(trained_wine: TrainedWine, tmp_path: Path) -> None:
    gone = ModelVersion(ref="wine/9", label="wine/9", source=str(tmp_path / "gone"))
    with pytest.raises(NotFoundError, match="`wine/9` has no `MLmodel` file"):
        fetch(gone, trained_wine.settings)
