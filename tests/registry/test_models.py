from __future__ import annotations

import pytest

from mlops.errors import InvalidInputError, NotFoundError, UsageError
from mlops.registry import LEDGER_PREFIX, open_registry
from mlops.registry.aliases import AliasChange, change_alias
from mlops.registry.gate import CompareRequest, run_gate
from mlops.registry.models import list_versions, show_model
from tests.fixtures_training import TrainedWine

pytestmark = pytest.mark.usefixtures("clean_environ")


def test_lists_versions_newest_first_without_the_ledger(own_wine: TrainedWine) -> None:
    open_registry(own_wine.settings).create_registered_model(f"{LEDGER_PREFIX}wine")
    first, second = list_versions(own_wine.settings)
    assert (first.label, first.aliases) == ("wine/2", ("modelB",))
    assert (second.label, second.aliases) == ("wine/1", ("modelA",))
    assert first.run is not None
    assert first.run.params == {"alpha": "1.0", "l1_ratio": "0.1"}
    assert list_versions(own_wine.settings, "wine") == (first, second)
    with pytest.raises(NotFoundError):
        list_versions(own_wine.settings, "wien")


def test_shows_signature_requirements_and_size(trained_wine: TrainedWine) -> None:
    model = show_model(trained_wine.settings, "wine/1")
    assert [column.name for column in model.details.inputs][:2] == [
        "fixed acidity",
        "volatile acidity",
    ]
    assert {column.type for column in model.details.inputs} == {"double"}
    assert [column.type for column in model.details.outputs] == ["float64[-1]"]
    assert model.details.flavours == ("python_function", "sklearn")
    assert any(line.startswith("scikit-learn==") for line in model.details.requirements)
    assert model.details.size_bytes
    assert model.details.created is not None
    assert model.aliases == ("modelA",)
    assert model.run is not None
    assert set(model.run.datasets) == {"wines"}


def test_a_model_outlives_its_run(own_wine: TrainedWine) -> None:
    client = open_registry(own_wine.settings)
    (version,) = client.search_model_versions("name='wine' and version_number=1") or [None]
    copied = client.create_model_version("wine", version.source, run_id="0" * 32)
    assert show_model(own_wine.settings, f"wine/{copied.version}").run is None


def test_compares_with_the_first(trained_wine: TrainedWine) -> None:
    found = run_gate(trained_wine.settings, CompareRequest(("modelA", "modelB"))).comparison
    (rmse,) = (row for row in found.metrics if row.name == "rmse")
    assert rmse.differences[0] == 0
    assert rmse.differences[1] == pytest.approx(
        trained_wine.second.metrics["rmse"] - trained_wine.first.metrics["rmse"]
    )
    assert {row.name: row.same for row in found.params} == {"alpha": False, "l1_ratio": True}
    assert [row.same for row in found.datasets] == [True]
    with pytest.raises(UsageError):
        run_gate(trained_wine.settings, CompareRequest(("modelA",)))


def test_an_alias_moves_stays_and_goes(own_wine: TrainedWine) -> None:
    settings = own_wine.settings
    assert change_alias(settings, "wine/2", "x", delete=False) == AliasChange("wine", "x", 2, 0)
    assert change_alias(settings, "wine/2", "x", delete=False) == AliasChange("wine", "x", 2, 2)
    assert change_alias(settings, "modelA", "x", delete=False) == AliasChange("wine", "x", 1, 2)
    assert change_alias(settings, "wine", "x", delete=True) == AliasChange("wine", "x", 0, 1)
    with pytest.raises(NotFoundError, match="no alias `x`"):
        change_alias(settings, "wine", "x", delete=True)


@pytest.mark.parametrize("alias", ["v3", "latest", "a b", ""])
def test_an_alias_that_mlflow_would_refuse(trained_wine: TrainedWine, alias: str) -> None:
    with pytest.raises(InvalidInputError):
        change_alias(trained_wine.settings, "wine", alias, delete=False)


def test_only_a_registered_model_has_aliases(trained_wine: TrainedWine) -> None:
    run = f"runs:/{trained_wine.first.run_id}/model"
    with pytest.raises(UsageError):
        change_alias(trained_wine.settings, run, "x", delete=False)
