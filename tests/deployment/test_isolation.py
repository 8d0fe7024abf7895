"""Two arms whose packages cannot be installed together are one A/B test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops.deployment.isolation import isolate, recipe_of
from mlops.environments.building import Recipe, build
from mlops.errors import InvalidInputError, MlopsError
from mlops.runtimes.folder import read_mlmodel
from mlops.settings import load_settings
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from tests.fixtures_deployment import Shop
from tests.requirements import uv_on_path

# Made once for this machine, and not for every session.
_CACHE = Path("~/.cache/mlops-tests").expanduser()
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_OLD = ("scikit-learn==1.4.2", "numpy==1.26.4", "pandas==2.2.3", "mlflow==2.16.2")
_TRAIN = """
import json, sys
import mlflow, numpy as np, pandas as pd, sklearn
from mlflow.models import infer_signature
from sklearn.ensemble import RandomForestRegressor

random = np.random.default_rng(7)
rows = pd.DataFrame(random.normal(size=(200, 3)), columns=["a", "b", "c"])
truth = rows["a"] * 2 + rows["b"] ** 2
model = RandomForestRegressor(10, random_state=int(sys.argv[2])).fit(rows, truth)
mlflow.sklearn.save_model(
    model, sys.argv[1], signature=infer_signature(rows, truth), input_example=rows.head(2),
    serialization_format="cloudpickle",
)
probe = pd.DataFrame(np.random.default_rng(1).normal(size=(7, 3)), columns=["a", "b", "c"])
print(json.dumps([sklearn.__version__, probe.values.tolist(), model.predict(probe).tolist()]))
"""


def _trained(python: str, folder: Path, seed: int) -> tuple[str, list[list[float]], list[float]]:
    words = [python, "-I", "-W", "ignore", "-c", _TRAIN, str(folder), str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    sklearn, rows, predictions = json.loads(done.stdout.splitlines()[-1])
    return sklearn, rows, predictions


@pytest.fixture
def isolated_shop(ready_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    uv_on_path(monkeypatch)
    home = load_settings(ready_folder, environ={}).home
    home.mkdir(exist_ok=True)
    (_CACHE / "environments").mkdir(parents=True, exist_ok=True)
    (home / "environments").symlink_to(_CACHE / "environments")
    shop = Shop(ready_folder, "pair")
    yield shop
    shop.run("stop", "pair")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the old scikit-learn has no wheel")
def test_arms_with_packages_that_exclude_each_other(isolated_shop: Shop) -> None:
    shop = isolated_shop
    old_python = build(Recipe("uv", _PYTHON, _OLD, shop.folder / "old.txt"), _CACHE, print)
    trained = {
        "old": _trained(str(old_python), shop.folder / "old", 1),
        "new": _trained(sys.executable, shop.folder / "new", 2),
    }
    assert trained["old"][0] == "1.4.2" != trained["new"][0]
    said = shop.ok("deploy", "--ab", "./old", "./new", "--name", "pair")
    assert "sklearn 1.4.2, " in said.out or "sklearn 1.4.2\n" in said.out

    (deployment,) = shop.ok("status", "--json").document["deployments"]
    runners = {arm["name"]: arm["runner"] for arm in deployment["arms"]}
    assert runners["old"] == "process"
    assert runners["new"] != "process"
    for arm, (_, rows, predictions) in trained.items():
        body = {"dataframe_split": {"columns": ["a", "b", "c"], "data": rows}}
        answer, headers = shop.post("/invocations", body, x_mlops_arm=arm)
        assert (headers["x-mlops-arm"], answer["predictions"]) == (arm, predictions)
    with urllib.request.urlopen(f"{deployment['url']}/ready", timeout=30) as ready:
        assert ready.status == 200

    # Another revision keeps the process, and what made it needs neither uv nor a network.
    shop.environ["PATH"] = os.defpath
    shop.ok("deploy", "--name", "pair", "--split", "80/20")
    after = shop.ok("status", "--json").document["deployments"][0]["arms"]
    assert [arm["runner"] for arm in after] == [runners["old"], runners["new"]]

    words = ("deploy", "--name", "pair", "--isolate", "never", "--dry-run", "--json")
    plan = shop.ok(*words).document["plan"]
    assert "~ isolate  never  (was auto)" in plan["lines"]


def _model(folder: Path, requirements: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: none}}\n")
    (folder / "requirements.txt").write_text(requirements)
    return folder


def _spec(mode: str) -> DeploymentSpec:
    model = ModelVersion(ref="m", label="m/1", source="m")
    return DeploymentSpec("pair", (Arm("a", model, 1.0),), isolate=mode)


def test_what_is_asked_for_without_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = load_settings(tmp_path, environ={})
    model = str(_model(tmp_path / "m", "no-such-package==1.0\n"))
    assert isolate(settings, _spec("auto"), [model], print) == ()
    assert isolate(settings, _spec("never"), [model], print) == ()
    with pytest.raises(InvalidInputError, match="`uv`, which makes it, is not on the path"):
        isolate(settings, _spec("always"), [model], print)


def test_an_environment_that_cannot_be_made_says_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv_on_path(monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    settings = load_settings(tmp_path, environ={})
    model = str(_model(tmp_path / "m", "no-such-package==1.0\n"))
    steps: list[str] = []
    with pytest.raises(MlopsError, match="no-such-package") as caught:
        isolate(settings, _spec("auto"), [model], steps.append)
    assert "`--isolate never`" in str(caught.value.hint)
    assert steps[0] == (
        "Preparing the environment of a (missing: no-such-package 1.0 is not installed)"
    )


def test_models_that_want_the_same_share_an_environment(tmp_path: Path) -> None:
    one = _model(tmp_path / "one", "numpy==1.26.4\n# said\n./wheels/own.whl\n")
    two = Path(shutil.copytree(one, tmp_path / "two"))
    recipes = [recipe_of(folder, read_mlmodel(folder)) for folder in (one, two)]
    assert recipes[0].requirements == ["numpy==1.26.4", "./wheels/own.whl", "mlflow"]
    assert recipes[0].folder == recipes[1].folder
    for folder, content in ((one, b"1"), (two, b"2")):
        (folder / "wheels").mkdir()
        (folder / "wheels/own.whl").write_bytes(content)
    first, second = (recipe_of(folder, read_mlmodel(folder)) for folder in (one, two))
    assert first.folder != second.folder


@pytest.mark.parametrize("line", ["../features", "-e ../features", "-r ../base.txt", "-r own.txt"])
def test_what_is_beside_the_folder_that_a_model_is_a_copy_of(tmp_path: Path, line: str) -> None:
    source = _model(tmp_path / "source" / "model", f"numpy\n{line}\n")
    (source / "own.txt").write_text("../features\n")
    (tmp_path / "source" / "base.txt").write_text("six==1.16.0\n")
    (tmp_path / "source" / "features").mkdir()
    (tmp_path / "source" / "features" / "setup.cfg").write_text("[metadata]\nname = features\n")
    copy = Path(shutil.copytree(source, tmp_path / "cache" / "model"))

    def recipe() -> Recipe:
        return recipe_of(copy, read_mlmodel(copy), source)

    made = recipe()
    assert made.file == source / "requirements.txt"
    assert made == recipe_of(source, read_mlmodel(source))
    (tmp_path / "source" / "base.txt").write_text("six==1.17.0\n")
    (tmp_path / "source" / "features" / "setup.cfg").write_text("[metadata]\nname = other\n")
    assert recipe().folder != made.folder
    # Another model may have been saved there.
    name = "own.txt" if "own" in line else "requirements.txt"
    (source / name).write_text("numpy<2\n")
    assert recipe().file == copy / "requirements.txt"


def test_what_is_beside_a_model_and_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv_on_path(monkeypatch)
    settings = load_settings(tmp_path, environ={})
    source = _model(tmp_path / "model", "-e ../features\n./lib ; python_version < '3'\n")
    copy = Path(shutil.copytree(source, tmp_path / "cache" / "model"))
    model = ModelVersion("./model", str(source), str(source), digest="sha256:0")
    spec = DeploymentSpec("pair", (Arm("a", model, 1.0),), isolate="always")
    with pytest.raises(InvalidInputError, match=r"of `a` name `../features` on this machine, and"):
        isolate(settings, spec, [str(copy)], print)
