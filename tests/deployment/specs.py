"""Specs and model files for the targets' tests."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from mlops.registry.details import Column, Details
from mlops.spec.deployment import Arm, DeploymentSpec, Shadow
from mlops.spec.model import ModelVersion
from mlops.spec.ramp import Ramp

_ALCOHOL = Column("alcohol", "double", required=True)


def model(version: int, source: str = "") -> ModelVersion:
    return ModelVersion(
        ref=f"wine/{version}",
        label=f"wine/{version}",
        source=source or f"s3://models/1/models/m-{version}/artifacts",
        name="wine",
        version=version,
    )


def spec(*weights: float, shadows: tuple[float, ...] = (), name: str = "wine") -> DeploymentSpec:
    """A deployment with so many arms and shadows."""
    arms = [Arm(f"model{'ABCDEFGH'[i]}", model(i + 3), weight) for i, weight in enumerate(weights)]
    tried = [
        Shadow(f"try{i + 1}", model(len(arms) + i + 3), share) for i, share in enumerate(shadows)
    ]
    return DeploymentSpec(name, tuple(arms), shadows=tuple(tried))


def ramped(deployment: DeploymentSpec, *, auto: bool = False) -> DeploymentSpec:
    """Let the share of the second of two arms grow."""
    analysis = replace(deployment.analysis, guardrails=(("errors", 0.01),))
    return replace(deployment, analysis=analysis, ramp=Ramp((5.0, 100.0), auto=auto))


def with_endpoint(deployment: DeploymentSpec, ref: str) -> DeploymentSpec:
    """Add an arm without traffic that a server which runs already answers for."""
    there = ModelVersion(ref=ref, label=ref.partition("#")[0], source=ref)
    return replace(deployment, arms=(*deployment.arms, Arm("there", there, 0.0)))


def from_sources(*sources: str) -> DeploymentSpec:
    arms = [Arm(f"m{i}", model(i, s), 1 / len(sources)) for i, s in enumerate(sources, start=1)]
    return DeploymentSpec("wine", tuple(arms))


def details(
    *inputs: Column,
    python: str = "3.11.7",
    mlflow: str = "3.17.2",
    serialization: str = "skops",
    requirements: tuple[str, ...] = ("mlflow==3.17.2", "scikit-learn==1.8.0"),
) -> Details:
    return Details(
        inputs=inputs or (_ALCOHOL,),
        outputs=(),
        flavours=("python_function", "sklearn"),
        requirements=requirements,
        python=python,
        mlflow=mlflow,
        size_bytes=None,
        created=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        serialization=serialization,
    )


#: What an old MLflow logged, which images of platforms can read.
OLD = details(
    python="3.10.12",
    mlflow="2.19.0",
    serialization="cloudpickle",
    requirements=("mlflow==2.19.0", "scikit-learn==1.5.2"),
)
NEW = details()


def known(deployment: DeploymentSpec, of: Details = NEW) -> dict[str, Details]:
    """Say the same of every arm and shadow."""
    names = [arm.name for arm in deployment.arms] + [each.name for each in deployment.shadows]
    return dict.fromkeys(names, of)
