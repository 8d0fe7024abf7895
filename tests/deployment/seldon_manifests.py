"""What the Seldon Core v1 target makes of a specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import settings

from mlops.deployment.clusters.target import ClusterTarget
from mlops.deployment.targets import TARGETS, Rendered, RenderOptions
from mlops.errors import InvalidInputError
from mlops.registry.details import Column, Details
from mlops.settings import Settings
from mlops.spec.deployment import DeploymentSpec
from tests.deployment.matrix import options
from tests.deployment.specs import details, spec

#: A rendering takes tens of milliseconds, more on a busy machine.
PROPERTY = settings(deadline=None, derandomize=True, max_examples=40)
COLUMNS = details(Column("alcohol", "double", required=True))
TENSOR = details(Column("", "float64[-1, 11]", required=True))


def ab(weight: float = 0.5) -> DeploymentSpec:
    return spec(weight, 1 - weight)


def stock(details: Mapping[str, Details] | None = None, **given: Any) -> RenderOptions:
    """Options for Seldon's own MLflow server."""
    base = options("seldon", **{"cluster_model_server": "prepackaged", **given})
    return replace(base, details=details or {})


def rendered(spec: DeploymentSpec, options: RenderOptions | None = None) -> Rendered:
    made: Rendered = TARGETS.load("seldon")().render(spec, options or stock())
    return made


def target(settings: Settings) -> ClusterTarget:
    return ClusterTarget(settings, "seldon", TARGETS.load("seldon")())


def manifest(spec: DeploymentSpec, options: RenderOptions | None = None) -> dict[str, Any]:
    (text,) = rendered(spec, options).files.values()
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def predictor(spec: DeploymentSpec) -> dict[str, Any]:
    (found,) = manifest(spec)["spec"]["predictors"]
    return dict(found)


def refusal(spec: DeploymentSpec, options: RenderOptions | None = None) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        rendered(spec, options)
    return caught.value.message, caught.value.hint or ""


# Models of the registry


def graph(document: dict[str, Any]) -> dict[str, Any]:
    graph: dict[str, Any] = document["spec"]["predictors"][0]["graph"]
    return graph
