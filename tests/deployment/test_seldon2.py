"""The Seldon Core v2 target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from mlops.deployment.targets.base import Rendered
from mlops.deployment.targets.seldon2 import Seldon2
from mlops.errors import InvalidInputError
from mlops.spec.deployment import DeploymentSpec
from tests.deployment.matrix import options
from tests.deployment.specs import known, ramped, spec


def rendered(deployment: DeploymentSpec, **given: Any) -> Rendered:
    return Seldon2().render(deployment, options("seldon2", **given))


def experiment(deployment: DeploymentSpec) -> Any:
    return yaml.safe_load(rendered(deployment).files["experiment.yaml"])["spec"]


def test_one_model_needs_no_experiment() -> None:
    assert list(rendered(spec(1.0)).files) == ["server.yaml", "model.yaml"]


def test_candidates_get_their_weights_and_the_first_is_the_default() -> None:
    found = experiment(spec(0.5, 0.3, 0.2))
    assert found["default"] == "wine-model-a"
    assert [c["weight"] for c in found["candidates"]] == [50, 30, 20]
    assert "mirror" not in found


def test_zero_is_zero() -> None:
    assert [c["weight"] for c in experiment(spec(1.0, 0.0))["candidates"]] == [100, 0]


def test_a_small_share_is_kept() -> None:
    assert [c["weight"] for c in experiment(spec(0.9985, 0.0015))["candidates"]] == [9985, 15]


def test_a_shadow_is_a_mirror() -> None:
    found = experiment(spec(1.0, shadows=(0.25,)))
    assert found["mirror"] == {"name": "wine-try1", "percent": 25}


def test_the_server_runs_the_image_without_parts_under_another_licence() -> None:
    made = rendered(spec(1.0))
    server = yaml.safe_load(made.files["server.yaml"])
    (container,) = server["spec"]["podSpec"]["containers"]
    assert container["image"].endswith("-mlflow")
    model = yaml.safe_load(made.files["model.yaml"])
    assert model["spec"]["server"] == server["metadata"]["name"]


def test_what_a_current_mlflow_logs_is_refused() -> None:
    given = replace(options("seldon2"), details=known(spec(1.0)))
    with pytest.raises(InvalidInputError, match="is kept as skops") as caught:
        Seldon2().render(spec(1.0), given)
    assert "`--target kubernetes`" in (caught.value.hint or "")


def test_the_licence_is_said() -> None:
    assert "under Apache-2.0" in rendered(spec(1.0)).notes[0]
    assert "Business Source License" in rendered(spec(1.0), version="2.10.2").notes[0]


@pytest.mark.parametrize(
    ("deployment", "given", "fault"),
    [
        (spec(1.0, shadows=(1.0, 1.0)), {}, "one mirror, and there are 2 shadows"),
        (spec(1.0, shadows=(0.001,)), {}, "whole percentages"),
        (spec(1 - 1e-7, 1e-7), {}, "below one in a million"),
        (spec(1.0), {"cluster_model_server": "mlops"}, "repository API"),
        (replace(spec(1.0), sticky_by="field:x"), {}, "cannot keep `field:x` on one"),
        (ramped(spec(0.95, 0.05)), {}, "a ramp could move them"),
        (spec(0.5, 0.5, name="w" * 60), {}, "more than 63"),
        (spec(1.0), {"version": "2"}, "older than 2.4.0"),
    ],
)
def test_what_it_cannot_do(deployment: DeploymentSpec, given: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        rendered(deployment, **given)
    assert fault in caught.value.message
    assert caught.value.hint
