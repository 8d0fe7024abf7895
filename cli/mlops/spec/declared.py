"""What a spec declares besides its models: reward, costs, feedback rules, stickiness, and the rest.

An audit trail has it, so that a reader sees what changed from one revision to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.spec.deployment import Arm, DeploymentSpec, from_dict, to_dict
from mlops.spec.model import ModelVersion

# The models have entries of their own.
_MODELS = ("schema_version", "name", "arms", "shadows")
_ALWAYS = "reward"
_USUAL = DeploymentSpec("declared", (Arm("a", ModelVersion("a", "a", "a"), 1.0),))


def declared_of(spec: DeploymentSpec) -> dict[str, Any]:
    """Return what a spec declares, as JSON data: the reward, and whatever is not the default."""
    told, usual = to_dict(spec), to_dict(_USUAL)
    return {
        key: value
        for key, value in told.items()
        if key not in _MODELS and (key == _ALWAYS or value != usual[key])
    }


def declared_spec(declared: Mapping[str, Any]) -> DeploymentSpec:
    """Return a spec, without models of use, that declares what `declared_of` has written.

    Raises:
        InvalidInputError: It is of another version or form.
    """
    return from_dict({**to_dict(_USUAL), **declared})
