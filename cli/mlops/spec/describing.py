"""How the arm of a request is chosen, in words."""

from __future__ import annotations

from mlops.spec.analysis import written
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.ramp import describe_ramp


def describe_choice(spec: DeploymentSpec) -> str:
    """Say what moves the shares of the arms, and what guards them; empty for fixed shares.

    >>> from mlops.spec.model import ModelVersion
    >>> from mlops.spec.deployment import Arm
    >>> wine = ModelVersion("wine", "wine/3", "models/wine")
    >>> arms = Arm("old", wine, 0.9), Arm("new", wine, 0.1)
    >>> describe_choice(DeploymentSpec("wine", arms, policy="thompson floor=0.1"))
    'policy thompson floor=0.1'
    >>> describe_choice(DeploymentSpec("wine", arms))
    ''
    """
    found = [] if spec.policy == "weighted" else [f"policy {spec.policy}"]
    if spec.ramp is not None:
        found.append(f"ramp {describe_ramp(spec.ramp)}")
    if spec.analysis.guardrails:
        found.append(f"guardrails {written(spec.analysis)['guardrails']}")
    return "; ".join(found)
