"""The tutorials do what they say, block by block."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chance import by_chance
from tests.docs.generated import ROOT
from tests.docs.pages import Reader, blocks
from tests.fixtures_cluster import Namespace
from tests.fixtures_deployment import open_shop
from tests.fixtures_training import TrainedWine
from tests.kubernetes_programs import missing
from tests.minio import Minio
from tests.requirements import require

_TUTORIALS = ROOT / "docs" / "tutorials"


#: They begin with the trained project of the first tutorial.
_GO_ON = ("own-server", "ci")


@pytest.fixture
def reader(tmp_path: Path, empty_database: Path) -> Iterator[Reader]:
    require("curl", shutil.which("curl"), "there is no curl")
    somebody = Reader(tmp_path, empty_database)
    yield somebody
    somebody.close()


@by_chance
@pytest.mark.parametrize("name", ["wine", "classifier", "lightgbm", *_GO_ON])
def test_a_tutorial(name: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    page = _TUTORIALS / f"{name}.md"
    assert len(list(blocks(page))) > 3
    if name in _GO_ON:
        open_shop(request.getfixturevalue("trained_wine"), reader.folder / "wine")
    reader.follow(page)


@pytest.mark.parametrize("name", ["classifier", "lightgbm"])
def test_a_figure_of_training_is_not_logged_as_one_of_validation(name: str) -> None:
    """Live answers are held against what a run logs under a measure's own name."""
    (script,) = (b.body for b in blocks(_TUTORIALS / f"{name}.md") if b.title == "train.py")
    logged = re.findall(r"log_metric\(\"(\w+)\", (.*)\)", script)
    assert logged
    for metric, value in logged:
        assert ("_held" in value) is not metric.startswith("training_"), metric


def test_the_tutorial_about_kubernetes(
    trained_wine: TrainedWine, reader: Reader, minio: Minio, request: pytest.FixtureRequest
) -> None:
    """The part that needs a cluster is run where there is one."""
    open_shop(trained_wine, reader.folder / "wine")
    reader.bucket = minio.bucket()
    reader.environ |= minio.environ
    if not missing():
        namespace: Namespace = request.getfixturevalue("namespace")
        reader.environ["KUBECONFIG"] = str(namespace.kubeconfig)
        reader.has_cluster = True
    reader.follow(_TUTORIALS / "kubernetes.md")
