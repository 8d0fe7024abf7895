"""The manifests of the Seldon Core v1 target."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlops.deployment.targets import RenderOptions
from mlops.deployment.targets.seldon import node_names, ratio_a
from mlops.deployment.yaml_templates import render_template, yaml_scalar
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from tests.deployment.matrix import options
from tests.deployment.seldon_manifests import (
    COLUMNS,
    PROPERTY,
    TENSOR,
    ab,
    manifest,
    predictor,
    refusal,
    rendered,
    stock,
)
from tests.deployment.specs import from_sources, model, spec

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/seldon"

# Golden manifests

CASES: Mapping[str, tuple[DeploymentSpec, RenderOptions]] = {
    "abtest": (
        ab(0.7),
        stock({"modelA": COLUMNS, "modelB": COLUMNS}, env_secret="seldon-rclone-secret"),
    ),
    "abtest_tensors": (
        replace(ab(0.5), reward="exact"),
        stock({"modelA": TENSOR, "modelB": COLUMNS}),
    ),
    "model": (ab().only("modelA"), stock(env_secret="seldon-rclone-secret")),
    "abtest_ours": (ab(0.7), options("seldon", cluster_image="me/wine:1")),
    "abn_ours": (spec(0.5, 0.3, 0.2), options("seldon", cluster_image="me/wine:1")),
    "shadow_mlserver": (
        spec(1.0, shadows=(0.2,)),
        options("seldon", cluster_model_server="mlserver"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_manifest_is_the_golden_one(case: str) -> None:
    golden = yaml.safe_load((GOLDEN / f"{case}.yaml").read_text())
    assert manifest(*CASES[case]) == golden


# What the in-graph A/B test needs


def test_feedback_can_be_attributed() -> None:
    found = predictor(ab())
    assert found["svcOrchSpec"]["env"] == [
        {"name": "SELDON_ENABLE_ROUTING_INJECTION", "value": "true"}
    ]
    assert [p["name"] for p in found["graph"]["parameters"]] == ["ratioA"]
    assert "type" not in found["graph"]
    assert "traffic" not in found


def test_annotations_say_which_model_a_node_is() -> None:
    metadata = manifest(ab())["metadata"]
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "mlops"}
    assert metadata["annotations"]["mlops/arm-model-a"] == "wine/3"
    assert metadata["annotations"]["mlops/arm-model-b"] == "wine/4"


def test_version_of_the_metrics_is_the_experiment() -> None:
    assert predictor(ab(0.5))["annotations"] == {"version": ab(0.9).experiment}


def test_data_frame_where_inputs_have_names_or_are_unknown() -> None:
    frame = [{"name": "xtype", "value": "DataFrame", "type": "STRING"}]
    given = stock({"modelA": TENSOR})
    (found,) = manifest(ab(), given)["spec"]["predictors"]
    tensor, unknown = found["graph"]["children"]
    assert "parameters" not in tensor
    assert unknown["parameters"] == frame
    notes = " ".join(rendered(ab(), given).notes)
    assert "The signature of `modelB` was not read" in notes


@PROPERTY
@given(st.floats(0, 1))
def test_ratio_is_the_first_weight_exactly(weight: float) -> None:
    text = predictor(ab(weight))["graph"]["parameters"][0]["value"]
    assert re.fullmatch(r"[01]\.\d+", text)
    assert float(text) == ratio_a(ab(weight))
    assert float(text) == pytest.approx(weight, abs=1e-15)
    assert (weight == 1) <= (float(text) == 1)
    assert (weight == 0) <= (float(text) == 0)


@pytest.mark.parametrize(
    ("weight", "idle"), [(0.0, "modelA"), (1.0, "modelB"), (1e-60, "modelA"), (1 - 1e-12, "modelB")]
)
def test_an_arm_without_traffic_is_said(weight: float, idle: str) -> None:
    assert f"`{idle}` gets no request at all" in " ".join(rendered(ab(weight)).notes)


def test_nothing_is_said_of_idle_arms_if_there_is_none() -> None:
    assert "no request at all" not in " ".join(rendered(ab(0.01)).notes)


# Names

ARM_NAMES = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,30}[A-Za-z0-9])?\Z")


@PROPERTY
@given(st.lists(ARM_NAMES, min_size=2, max_size=2, unique=True))
def test_nodes_are_unique_dns_labels(names: list[str]) -> None:
    arms = tuple(Arm(name, model(i + 1), 0.5) for i, name in enumerate(names))
    graph = predictor(DeploymentSpec("wine", arms))["graph"]
    nodes = [graph["name"], *(child["name"] for child in graph["children"])]
    assert len(set(nodes)) == 3
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", node) for node in nodes)


@pytest.mark.parametrize(
    ("names", "nodes"),
    [
        (("modelA", "modelB"), ("model-a", "model-b")),
        (("wine_1", "wine.1"), ("wine-1-2", "wine-1")),
        (("ab", "seldon-container-engine"), ("ab-2", "seldon-container-engine-2")),
        (("m", "m-model-initializer"), ("m", "m-m")),
    ],
)
def test_nodes_of_arms(names: tuple[str, str], nodes: tuple[str, str]) -> None:
    arms = tuple(Arm(name, model(1), 0.5) for name in names)
    assert tuple(node_names(DeploymentSpec("wine", arms)).values()) == nodes


@PROPERTY
@given(st.text(min_size=1), st.text())
def test_no_text_can_change_the_structure(label: str, reward: str) -> None:
    arm = Arm("a", ModelVersion(ref="a", label=label, source="s3://b/m"), 0.5)
    spec = DeploymentSpec("wine", (arm, Arm("b", model(2), 0.5)), reward=reward)
    document = manifest(spec)
    annotations = document["metadata"]["annotations"]
    assert annotations["mlops/arm-a"] == label
    assert annotations["mlops/reward"] == reward
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    assert len(annotations) == 4


@PROPERTY
@given(st.text())
def test_a_source_is_written_as_it_is_or_refused(path: str) -> None:
    source = f"s3://bucket/m{path}"
    spec = from_sources(source, "s3://b/m")
    if source.isprintable() and source == source.strip() and "?" not in path:
        assert predictor(spec)["graph"]["children"][0]["modelUri"] == source
    else:
        assert "model of `m1`" in refusal(spec)[0]


@PROPERTY
@given(st.one_of(st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False)))
def test_scalars_come_back(value: object) -> None:
    if value in (float("inf"), float("-inf")):
        with pytest.raises(TypeError):
            yaml_scalar(value)
        return
    text = str(yaml_scalar(value))
    assert "\n" not in text
    if isinstance(value, float):
        assert float(yaml.safe_load(text)) == value
    else:
        assert yaml.safe_load(f"key: {text}") == {"key": value}


def test_long_text_stays_on_one_line() -> None:
    text = "a word and another " * 20
    assert str(yaml_scalar(text)) == f'"{text}"'


def test_a_template_cannot_name_what_is_not_there() -> None:
    with pytest.raises(Exception, match="is undefined"):
        render_template("seldon/seldondeployment.yaml", {"namespace": ""})


# A policy in the graph


def _learning(**changed: Any) -> DeploymentSpec:
    given = {"policy": "thompson floor=0.1", "reward": "given", **changed}
    return replace(spec(0.5, 0.3, 0.2), **given)


def test_a_policy_is_a_router_of_the_graph() -> None:
    made = rendered(_learning(), options("seldon", postgresql=True))
    config, document = (yaml.safe_load(text) for text in made.files.values())
    (found,) = document["spec"]["predictors"]
    graph = found["graph"]
    assert graph["type"] == "ROUTER"
    assert "implementation" not in graph
    # Whatever the policy, a draw is the position of a child, so their order is that of the arms.
    arms = [arm["name"] for arm in json.loads(config["data"]["revision.json"])["spec"]["arms"]]
    assert [child["name"] for child in graph["children"]] == [
        node_names(_learning())[name] for name in arms
    ]
    router = found["componentSpecs"][0]["spec"]
    assert router["containers"][0]["name"] == graph["name"]
    assert router["containers"][0]["args"] == ["route"]
    (volume,) = (each for each in router["volumes"] if each["name"] == "revision")
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert any("secret generic wine-journal" in command for command in made.before_apply)
    assert not any("--from-file=token" in command for command in made.before_apply)
    assert any("`mlops report` reads it" in note for note in made.notes)


@pytest.mark.parametrize(
    ("changed", "given", "part"),
    [
        ({}, {"postgresql": False}, "kept in PostgreSQL"),
        ({"reward": "squared-error"}, {}, "what a model answered"),
        ({}, {"cluster_model_server": "prepackaged"}, "a component of the bundled image"),
        ({}, {"split": "predictors"}, "a component of the bundled image"),
        ({"sticky_by": "header:X", "policy": "acme"}, {}, "cannot keep"),
    ],
)
def test_what_a_policy_in_the_graph_needs(
    changed: dict[str, Any], given: dict[str, Any], part: str
) -> None:
    message, hint = refusal(
        _learning(**changed), options("seldon", **{"postgresql": True, **given})
    )
    assert part in message
    assert "--router" in hint or "journal_secret" in hint
