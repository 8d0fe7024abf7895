"""What `--with rollouts` writes: how Argo Rollouts and Flagger read the verdict.

Both are files beside the manifests, applied by the operator of those controllers: a cluster without
them does not know the kinds.

    https://argo-rollouts.readthedocs.io/en/stable/analysis/web/
    https://docs.flagger.app/usage/metrics
"""

from __future__ import annotations

from collections.abc import Mapping

from mlops.deployment.yaml_templates import render_template
from mlops.settings.platforms import MonitoringSettings
from mlops.spec.metrics import GUARDRAILS

#: The name by which `--with` and the setting `cluster.extras` ask for it.
ROLLOUTS = "rollouts"
_NAMESPACE = "default"


def rollout_files(
    name: str, namespace: str, options: MonitoringSettings, token_secret: str
) -> Mapping[str, str]:
    """Return an AnalysisTemplate and a MetricTemplate of a deployment.

    Args:
        name: Of the deployment, and of the Service in front of it.
        namespace: Where they are; empty leaves it to kubectl.
        options: Where Prometheus is, and how often it scrapes.
        token_secret: Secret whose key `token` callers must send; empty if they need none.
    """
    values = {
        "name": name,
        "namespace": namespace,
        "release": "",
        "interval": options.interval,
        "token_secret": token_secret,
        "url": f"http://{name}.{namespace or _NAMESPACE}.svc/verdict.json",
        "prometheus": options.prometheus,
        # Replicas agree once each has computed it: the worst of them counts.
        "query": f'min({GUARDRAILS.series}{{deployment="{name}"}})',
    }
    return {
        f"{kind}.yaml": render_template(f"rollouts/{kind}.yaml", values)
        for kind in ("analysistemplate", "metrictemplate")
    }
