"""`import mlops`: the loop from a program, for two projects in one process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

import mlops
from mlops.errors import MlopsError, NotFoundError
from mlops.training import TrainResult
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine

_FOREIGN = ("MLFLOW_", "MLOPS_", "AWS_", "GOOGLE_")


@pytest.fixture
def shops(trained_wine: TrainedWine, tmp_path: Path) -> Iterator[tuple[Shop, Shop]]:
    """Two projects."""
    both = open_shop(trained_wine, tmp_path / "one"), open_shop(trained_wine, tmp_path / "two")
    yield both
    for shop in both:
        shop.close()


def test_the_loop_in_two_projects_at_once(shops: tuple[Shop, Shop]) -> None:
    one, two = (shop.folder for shop in shops)
    trained = mlops.train(one, parameters={"alpha": 0.3}, alias="modelC")
    assert isinstance(trained, TrainResult)
    assert trained.model is not None
    assert trained.model.version == 3

    deployed = mlops.deploy(ab=("modelA", "modelC"), project=one)
    other = mlops.deploy(
        model="modelB", canary="modelA=5", ramp="5,100", every="1h", project=two,
        settings={"deploy.name": "cellar"},
    )  # fmt: skip
    assert (deployed.revision, other.revision) == (1, 1)
    assert [each.name for each in mlops.status(project=one)] == ["wine"]
    assert [each.name for each in mlops.status(project=two)] == ["cellar"]
    revision = shops[1].ok("history", "cellar", "--json").document["revisions"][0]
    assert revision["intent"]["spec"]["ramp"]["steps"] == [5.0, 100.0]
    # The third version is of the first project only.
    with pytest.raises(NotFoundError):
        mlops.deploy(model="modelC", project=two)

    with mlops.connect(project=one) as first, mlops.connect("cellar", project=two) as second:
        assert first.url != second.url
        row = shops[0].state.request
        answer = first.predict(row)
        assert answer.arm in ("modelA", "modelC")
        assert second.predict(row).arm in ("modelA", "modelB")
        assert first.feedback(answer.request_id, truth=6).counts["accepted"] == 1
    again = mlops.feedback([mlops.Outcome(request_id=answer.request_id, truth=6)], project=one)
    assert dict(again.counts) == {"duplicate": 1}

    report = mlops.report(project=one)
    assert sum(arm.requests for arm in report.arms) == 1
    assert report.verdict.decision == "continue"
    said = json.loads(shops[0].ok("report", "--json").out)
    assert said["verdict"]["decision"] == asdict(report)["verdict"]["decision"]
    assert [arm["requests"] for arm in said["arms"]] == [arm.requests for arm in report.arms]
    drawn = report._repr_html_()
    assert "<table>" in drawn
    assert "modelC" in drawn
    page = one / "report.html"
    mlops.report(project=one, html=page)
    assert page.read_text().startswith("<!doctype html>")

    with pytest.raises(MlopsError):
        mlops.promote(project=one)
    moved = mlops.promote(project=one, arm="modelC", force="a test")
    assert (moved.revision, moved.spec.arms[0].name) == (2, "modelC")
    assert mlops.rollback(project=one).revision == 3
    assert [entry.number for entry in mlops.history(project=one)] == [3, 2, 1]
    assert len(mlops.history("cellar", project=two)) == 1
    mlops.stop(project=one)
    with pytest.raises(NotFoundError):
        mlops.connect(project=one)
    assert mlops.status(project=two)[0].state == "running"


def test_a_hostile_name_does_nothing_in_a_notebook(shop: Shop) -> None:
    report = mlops.report(project=shop.folder)
    bad = type(report)(
        **{
            **{name: getattr(report, name) for name in report.__dataclass_fields__},
            "name": "<script>alert(1)</script>",
            "notes": ("<img src=x onerror=alert(1)>",),
        }
    )
    drawn = bad._repr_html_()
    assert "<script" not in drawn
    assert "<img" not in drawn


def test_a_client_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mlops import Client, AsyncClient, Outcome; Client('http://h');"
        "from mlops.client.checking import batches; batches([Outcome(request_id='r', truth=1)], 9);"
        " print(*{name.partition('.')[0] for name in sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"asyncio", "httpx", "mlflow", "numpy", "pandas", "rich", "scipy", "sklearn", "typer"}
    assert not heavy & set(out.stdout.split())


def test_everything_that_is_public_is_there() -> None:
    for name in mlops.__all__:
        assert getattr(mlops, name) is not None
    with pytest.raises(AttributeError, match="`nothing`"):
        _ = mlops.nothing
    assert (Path(mlops.__file__).parent / "py.typed").is_file()
