"""The talk's deployment on every platform: golden manifests, and what `docs/` shows of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from mlops.linting import lint
from tests.deployment.the_talk import rendered

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/kubernetes").glob("*.md"))
GOLDEN = ROOT / "tests/golden"
TARGETS = ("kubernetes", "kserve", "seldon", "kserve-router", "seldon-router", "seldon2-router")


def steady(text: str) -> str:
    """Leave out what changes whenever a spec gains a field: the ConfigMap's name, its content."""
    text = re.sub(r"wine-[0-9a-f]{10}\b", "wine-0123456789", text)
    return re.sub(r"revision\.json: \|\n(    .*\n)*", "revision.json: ''\n", text)


@pytest.mark.parametrize("target", TARGETS)
def test_manifests_are_the_golden_ones(target: str) -> None:
    made = rendered(target)
    golden = GOLDEN / "the_talk" / target
    assert {path.name for path in golden.iterdir()} == set(made.files)
    for name, text in made.files.items():
        wanted = yaml.safe_load((golden / name).read_text())
        assert yaml.safe_load(steady(text)) == wanted, name


@pytest.mark.parametrize("target", TARGETS)
def test_they_are_what_a_reviewer_would_let_pass(target: str) -> None:
    assert lint(rendered(target).files) == []


def test_the_docs_show_what_is_rendered() -> None:
    text = "".join(page.read_text() for page in PAGES)
    shown = re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    made = [steady(file) for target in TARGETS for file in rendered(target).files.values()]
    assert len(shown) == 5
    for block in shown:
        assert block in made


@pytest.mark.parametrize("target", [name for name in TARGETS if name.endswith("-router")])
def test_the_docs_say_where_arms_are(target: str) -> None:
    text = (ROOT / "docs/kubernetes/router.md").read_text()
    (revision,) = yaml.safe_load(rendered(target).files["configmap.yaml"])["data"].values()
    for arm in json.loads(revision)["spec"]["arms"]:
        if arm["name"] == "modelA":
            assert f"`{arm['model']['remote']}`" in text


def test_feedback_reaches_its_arm_where_the_platform_lets_it() -> None:
    (text,) = rendered("seldon").files.values()
    (predictor,) = yaml.safe_load(text)["spec"]["predictors"]
    assert predictor["graph"]["implementation"] == "RANDOM_ABTEST"
    graph = yaml.safe_load(rendered("kserve").files["inferencegraph.yaml"])
    assert graph["metadata"]["annotations"]["mlops/feedback"] == "none"
