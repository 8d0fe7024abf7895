"""What the settings say of pods, which every target that renders puts into all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from mlops.deployment.clusters.options import differences, restored
from mlops.deployment.targets import TARGETS, platform_of
from mlops.deployment.targets.pods import image, quantity
from mlops.errors import InvalidInputError
from mlops.spec.place import Place
from tests.deployment.matrix import SCHEDULED, options
from tests.deployment.specs import spec

RENDERED = tuple(name for name in TARGETS if name != "local")


def _pods(value: Any) -> Iterator[dict[str, Any]]:
    """Yield what describes a pod: it has containers, or a model that the platform puts into one."""
    if isinstance(value, list):
        for item in value:
            yield from _pods(item)
    elif isinstance(value, dict):
        if "containers" in value or ("model" in value and "modelFormat" in value["model"]):
            yield value
        for item in value.values():
            yield from _pods(item)


@pytest.mark.parametrize(
    ("target", "router"),
    [(name, routed) for name in RENDERED for routed in {False, platform_of(name).routed}],
)
def test_every_pod_is_pulled_and_placed_as_the_settings_say(target: str, router: bool) -> None:
    deployment = spec(0.5, 0.5)
    given = options(target, deployment, **SCHEDULED, cluster_router=router)
    made = TARGETS.load(target)().render(deployment, given)
    documents = [yaml.safe_load(text) for text in made.files.values()]
    # The pods of a ServingRuntime are those of the InferenceServices.
    pods = [pod for each in documents if each["kind"] != "ServingRuntime" for pod in _pods(each)]
    assert pods
    for pod in pods:
        assert pod["enableServiceLinks"] is False
        assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
        assert pod["nodeSelector"] == {"pool": "ml", "example.com/disk": "ssd"}
        assert pod["tolerations"] == [
            {"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"},
            {"key": "nvidia.com/gpu", "operator": "Exists"},
            {"key": "spot", "operator": "Exists", "effect": "NoExecute"},
        ]


@pytest.mark.parametrize(("version", "placed"), [("0.19", False), ("0.20", True)])
def test_the_pods_of_a_graph_are_placed_where_kserve_can(version: str, placed: bool) -> None:
    deployment = spec(0.5, 0.5)
    given = options("kserve", deployment, **SCHEDULED, version=version)
    made = TARGETS.load("kserve")().render(deployment, given)
    graph = yaml.safe_load(made.files["inferencegraph.yaml"])["spec"]
    assert ("nodeSelector" in graph, "tolerations" in graph) == (placed, placed)
    assert "imagePullSecrets" not in graph
    assert any("router of the graph" in note for note in made.notes) != placed


def test_knative_has_to_be_told_to_place_pods() -> None:
    deployment = spec(0.5, 0.5)
    given = options("kserve", deployment, **SCHEDULED, mode="knative")
    notes = TARGETS.load("kserve")().render(deployment, given).notes
    assert any("kubernetes.podspec-nodeselector" in note for note in notes)


@pytest.mark.parametrize("target", RENDERED)
@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"cluster_memory": "0"}, "`cluster.memory` is `0`"),
        ({"cluster_memory": "512m"}, "`cluster.memory` is `512m`"),
        ({"cluster_cpu": "lots"}, "`cluster.cpu` is `lots`"),
        ({"cluster_image": "bad image name"}, "is not the name of an image"),
        ({"cluster_image_pull_secrets": ("hunter2=",)}, "`cluster.image_pull_secrets` cannot be"),
        ({"cluster_node_selector": ("ssd",)}, "`cluster.node_selector` has `ssd`"),
        ({"cluster_node_selector": ("pool=ml", "pool=gpu")}, "has `pool` twice"),
        ({"cluster_tolerations": ("a=b:Never",)}, "`cluster.tolerations` has `a=b:Never`"),
    ],
)
def test_what_no_pod_can_have_is_refused(target: str, given: dict[str, Any], fault: str) -> None:
    deployment = spec(0.5, 0.5)
    with pytest.raises(InvalidInputError) as caught:
        TARGETS.load(target)().render(deployment, options(target, deployment, **given))
    assert fault in caught.value.message
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("wine", True),
        ("wine:1", True),
        ("localhost:5000/a/b_c:v1.2-x", True),
        ("registry.example.com/team/wine@sha256:" + "a" * 64, True),
        ("Registry.example.com/wine", True),
        ("wine:1:2", False),
        ("Wine", False),
        ("wine@sha256:12", False),
        ("https://registry/wine", False),
        (" wine", False),
    ],
)
def test_names_of_images(name: str, is_one: bool) -> None:
    assert bool(list(image("cluster.image", name))) != is_one


def test_quantities() -> None:
    for value in ("1", "0.5", "500m", "2Gi"):
        assert not list(quantity("cluster.cpu", value, "500m"))
    for value in ("", "0", "0Gi", "-1", "1 GB", "lots"):
        assert list(quantity("cluster.memory", value))


def test_what_is_emptied_again_is_a_difference() -> None:
    assert differences({"cluster.tolerations": ["gpu"]}, {}) == (
        "~ cluster.tolerations  none  (was gpu)",
    )
    assert differences({}, {}) == ()


def test_a_revision_of_an_earlier_release_can_be_rendered_again() -> None:
    kept = {"kubernetes.replicas": 5, "kubernetes.max_replicas": 2}
    place = Place("kubernetes", "", "https://cluster", "shop", options=kept)
    assert restored(place).kubernetes.max_replicas == 5
