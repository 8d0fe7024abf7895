"""The talk's deployment, two wine models side by side, for every platform; `docs/` shows it."""

from __future__ import annotations

from dataclasses import replace

from mlops.deployment.targets import TARGETS, Rendered
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from tests.deployment.matrix import options
from tests.deployment.specs import NEW, OLD, known

_SOURCE = "s3://models/wine/{}"
_MODELS = {"modelA": 1, "modelB": 2}

SPEC = DeploymentSpec(
    "wine",
    tuple(
        Arm(
            alias,
            ModelVersion(
                alias, f"wine/{version}", _SOURCE.format(version), name="wine", version=version
            ),
            0.5,
        )
        for alias, version in _MODELS.items()
    ),
)


def rendered(name: str) -> Rendered:
    """Render it with our own image.

    Args:
        name: The target, with `-router` after it if our server is to be in front.
    """
    target = name.removesuffix("-router")
    given = options(
        target,
        cluster_image="registry.example.com/wine:1",
        cluster_router_image="registry.example.com/wine:1",
        cluster_storage_secret="store",
        cluster_router=name.endswith("-router"),
    )
    files = known(SPEC, OLD if target == "seldon2" else NEW)
    found: Rendered = TARGETS.load(target)().render(SPEC, replace(given, details=files))
    return found
