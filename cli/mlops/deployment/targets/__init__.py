"""Where a deployment can live other than on this machine.

A target is a pure function from a spec to manifests. Reading models, writing files and talking to
a cluster happen around it, in `mlops.deployment.manifests`, once for all targets.
"""

from collections.abc import Callable

from mlops.deployment.targets.base import Rendered, RenderOptions, RenderTarget
from mlops.plugins import Plugins

TARGETS: Plugins[Callable[[], RenderTarget]] = Plugins(
    "target",
    {
        "kubernetes": "mlops.deployment.targets.kubernetes:Kubernetes",
        "kserve": "mlops.deployment.targets.kserve:KServe",
        "seldon": "mlops.deployment.targets.seldon:Seldon",
        "seldon2": "mlops.deployment.targets.seldon2:Seldon2",
    },
    group="mlops.targets",
    needs=("__call__",),
)

__all__ = ["TARGETS", "RenderOptions", "RenderTarget", "Rendered"]
