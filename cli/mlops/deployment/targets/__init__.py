"""Where a deployment can run.

Each has the five verbs of `mlops.deployment.targets.contract`. Those that run on Kubernetes differ
in one pure function, from a spec to manifests (`RenderTarget`); reading models, writing files and
talking to a cluster happen around it, once for all of them. `mlops.deployment.deploy.open_target`
opens one by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlops.plugins import Plugins

if TYPE_CHECKING:
    from mlops.deployment.targets.base import Platform, Rendered, RenderOptions, RenderTarget

#: A `Target` each, or a `RenderTarget`, from which one is made.
TARGETS: Plugins[Callable[..., Any]] = Plugins(
    "target",
    {
        "local": "mlops.deployment.local_target:Local",
        "kubernetes": "mlops.deployment.targets.kubernetes:Kubernetes",
        "kserve": "mlops.deployment.targets.kserve:KServe",
        "seldon": "mlops.deployment.targets.seldon:Seldon",
        "seldon2": "mlops.deployment.targets.seldon2:Seldon2",
    },
    group="mlops.targets",
    needs=("__call__",),
)


def platform_of(target: str) -> Platform:
    """Return what is known of the platform of a target."""
    from mlops.deployment.targets.base import Platform

    found: Platform = getattr(TARGETS.load(target), "platform", Platform())
    return found


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class
    # On use: a status of this machine needs none of what renders manifests.
    if name not in __all__:
        raise AttributeError(f"module `mlops.deployment.targets` has no attribute `{name}`")
    return getattr(import_module("mlops.deployment.targets.base"), name)


__all__ = ["TARGETS", "Platform", "RenderOptions", "RenderTarget", "Rendered", "platform_of"]
